package compare_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/compare"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

func mustBalances(h *harness, accounts ...string) []bus.Balance {
	h.Helper()
	balances, err := h.ledger.Balances(h.Context(), accounts)
	if err != nil {
		h.Fatal(err)
	}
	checkEqual(h, "balances", len(balances), len(accounts))
	return balances
}

func mustEncode(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// recordsOf returns a line of each kind for the account's events and for its receipts.
func (h *harness) recordsOf(account string) map[string][]string {
	h.Helper()
	updates, err := h.ledger.UpdatesAfter(h.Context(), account, 0, 1000)
	if err != nil {
		h.Fatal(err)
	}
	kinds := map[string][]string{}
	for _, u := range updates {
		transaction, _, _ := strings.Cut(u.Key, ":")
		receipt := map[string]any{"transactionId": transaction, "operation": "credit", "amount": 5, "balances": []any{}}
		kinds["receipt"] = append(kinds["receipt"], mustEncode(h, receipt))
		for i := range u.Deliveries {
			d := &u.Deliveries[i]
			item := map[string]any{"account": account, "seq": d.Seq, "chain": d.Chain, "event": json.RawMessage(d.ForAccount())}
			kinds["item"] = append(kinds["item"], mustEncode(h, item))
			item["op"] = "event"
			kinds["frame"] = append(kinds["frame"], mustEncode(h, item))
			kinds["event"] = append(kinds["event"], string(d.Data))
			fields := map[string]string{"id": d.ID, "type": d.Type, "account": account, "seq": fmt.Sprint(d.Seq),
				"chain": d.Chain.String(), "amount": "5", "data": string(d.Data)}
			kinds["stream entry"] = append(kinds["stream entry"], mustEncode(h, fields))
		}
	}
	err = h.ledger.Export(h.Context(), wallet.Account(account), wallet.EntryFilter{}, func(e *wallet.Entry) error {
		entry := map[string]any{"entryId": e.ID, "transactionId": e.TransactionID, "account": account, "accountId": "x",
			"balanceState": e.State, "amount": e.Amount, "seq": e.Seq, "operation": e.Operation, "hash": fmt.Sprintf("%x", e.Hash)}
		kinds["export"] = append(kinds["export"], mustEncode(h, entry))
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return kinds
}

// TestRecordsOfEachKind compares records with the ledger that made them, and with another one.
func TestRecordsOfEachKind(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		h := openHarness(t, url)
		h.doEachKindOfOperation()
		kinds := h.recordsOf("user:u1")
		kinds["CSV"] = []string{"transactionId,account,seq,amount,hash,more"}
		for _, line := range kinds["export"] {
			var e map[string]any
			err := json.Unmarshal([]byte(line), &e)
			if err != nil {
				t.Fatal(err)
			}
			row := fmt.Sprintf("%v,%v,%v,%v,%v,\"a, b\"", e["transactionId"], e["account"], e["seq"], e["amount"], e["hash"])
			kinds["CSV"] = append(kinds["CSV"], row)
		}
		other := openHarness(t, ledgerdb.Postgres(t))
		for kind, lines := range kinds {
			t.Run(kind, func(t *testing.T) {
				content := strings.Join(lines, "\r\n") + "\r\n"
				records := int64(len(lines))
				if kind == "CSV" {
					records--
				}
				report, findings := h.compareFile(content)
				checkEqual(t, "records", report.Events, records)
				if len(findings) > 0 {
					t.Errorf("got findings %+v, want none", findings)
				}
				report, findings = other.compareFile(content)
				checkEqual(t, "void records", report.VoidEvents, records)
				checkEqual(t, "findings", int64(len(findings)), records)
				isReceipt := kind == "receipt"
				isEvent := kind == "event"
				for _, f := range findings {
					checkEqual(t, "check", f.Check, compare.CheckTransaction)
					if _, err := uuid.Parse(f.TransactionID); err != nil {
						t.Errorf("transaction id: %v", err)
					}
					if !isReceipt && !isEvent && (f.Account != "user:u1" || f.Seq == 0 || f.Chain == "" && kind != "CSV") {
						t.Errorf("got finding %+v, want account, seq and chain", f)
					}
				}
			})
		}
	})
}

func TestChangedRecordsAreFindings(t *testing.T) {
	t.Parallel()
	h := openHarness(t, ledgerdb.Postgres(t))
	h.doEachKindOfOperation()
	kinds := h.recordsOf("user:u1")
	replaceOnce := func(old, with string) func(string) string {
		return func(line string) string { return strings.Replace(line, old, with, 1) }
	}
	hash := regexp.MustCompile(`"hash":"[0-9a-f]{4}`)
	for name, tc := range map[string]struct {
		kind   string
		change func(string) string
		check  compare.Check
	}{
		"other seq":         {"item", replaceOnce(`"seq":1`, `"seq":2`), compare.CheckEvent},
		"other account":     {"item", replaceOnce(`"account":"user:u1"`, `"account":"user:u2"`), compare.CheckEvent},
		"other event":       {"event", replaceOnce(`"eventId":"`, `"eventId":"x`), compare.CheckEvent},
		"other hash":        {"export", func(line string) string { return hash.ReplaceAllString(line, `"hash":"abcd`) }, compare.CheckEvent},
		"no transaction id": {"receipt", replaceOnce(`"transactionId":"`, `"transactionId":"x`), compare.CheckRecord},
	} {
		t.Run(name, func(t *testing.T) {
			line := tc.change(kinds[tc.kind][0])
			_, findings := h.compareFile(line)
			if len(findings) != 1 {
				t.Fatalf("got findings %+v, want one", findings)
			}
			checkEqual(t, "check", findings[0].Check, tc.check)
			checkEqual(t, "source", findings[0].Source, "record 1")
		})
	}
}

// TestMarkersAndOtherFramesAreSkipped compares the frames of a WebSocket.
func TestMarkersAndOtherFramesAreSkipped(t *testing.T) {
	t.Parallel()
	h := openHarness(t, ledgerdb.Postgres(t))
	report, findings := h.compareFile(strings.Join([]string{
		`{"op":"welcome","connection":"c"}`,
		`{"op":"resync","account":"user:u1","seq":5,"chain":"00000000000000aa","reason":"history_changed"}`,
		`{"type":"wallet.history_changed","account":"user:u1","seq":"1","chain":"00000000000000aa","data":"{}"}`,
		`{"eventType":"wallet.history_changed","account":"user:u1","seq":1}`,
	}, "\n"))
	if len(findings) > 0 {
		t.Errorf("got findings %+v, want none", findings)
	}
	checkEqual(t, "skipped records", report.Skipped, 4)
}

func TestUnreadableFilesAreErrors(t *testing.T) {
	t.Parallel()
	h := openHarness(t, ledgerdb.Postgres(t))
	for name, tc := range map[string]struct{ content, want string }{
		"empty":        {" \n", "at least one record"},
		"no header":    {"a,b\n1,2\n", "a header that has transactionId"},
		"not JSON":     {"{\n", "record 1 must be a JSON object"},
		"a list":       {"{\"transactionId\":\"" + uuid.NewString() + "\"}\n[]", "record 2 must be a JSON object"},
		"a bad number": {"transactionId,seq\nx,one\n", "record 1: seq must be a whole number"},
		"a short row":  {"transactionId,seq\nx\n", "record 1: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compare.File(t.Context(), h.ledger, strings.NewReader(tc.content), compare.Options{
				Found: func(*compare.Finding) error { return nil },
			})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error: got %v, want %q", err, tc.want)
			}
		})
	}
}
