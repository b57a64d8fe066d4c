package compare_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/compare"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
)

var accounts = []string{"user:u1", "model:m1"}

func TestPublishedEventsAreNoFindings(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		h := openHarness(t, url)
		h.doEachKindOfOperation()
		events := h.publish(accounts...)
		h.credit("user:u1", 1) // it waits in the outbox
		// Another producer's event, and a marker.
		h.addEntry("user:u1", map[string]string{"id": "a", "type": "chat.message", "account": "user:u1", "data": "{}"})
		h.addEntry("user:u1", map[string]string{"id": "b", "type": "wallet.history_changed", "account": "user:u1", "seq": "1",
			"chain": "00000000000000aa", "data": "{}"})

		report, findings := h.compareRedis("")
		if len(findings) > 0 {
			t.Errorf("got findings %+v, want none", findings)
		}
		checkEqual(t, "compared events", report.Events, int64(events))
		checkEqual(t, "skipped entries", report.Skipped, 2)
		checkEqual(t, "compared hashes", report.Hashes, 2)
		checkEqual(t, "hashes that are behind", report.Behind, 1)
		report, _ = h.compareRedis("model:m1")
		checkEqual(t, "compared events of the model", report.Events, 5)
		checkEqual(t, "compared hashes of the model", report.Hashes, 1)
	})
}

// TestVoidEventsAreNamed restores an older copy of the ledger. More than a page of events is void.
func TestVoidEventsAreNamed(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	h := newHarness(t)
	before := map[string]int64{"user:lost": 0}
	h.withLedger("before the copy", url, func(h *harness) {
		h.doEachKindOfOperation()
		h.publish(accounts...)
		for _, b := range mustBalances(h, accounts...) {
			before[b.Account] = b.Seq
		}
	})
	backup := testenv.BackUpPostgres(t, url)
	var want []string
	h.withLedger("after the copy", url, func(h *harness) {
		h.doEachKindOfOperation()
		for range 600 {
			h.credit("user:u1", 1)
		}
		h.credit("user:lost", 3)
		h.publish(append([]string{"user:lost"}, accounts...)...)
		want = h.ledgerPositions(before)
	})

	backup.Restore()
	h.ledger = openLedger(t, url)
	h.credit("user:u1", 5) // with a seq of a void event
	report, findings := h.compareRedis("")
	hashFindings := slices.DeleteFunc(slices.Clone(findings), func(f compare.Finding) bool { return f.Check != compare.CheckHash })
	findings = slices.DeleteFunc(findings, func(f compare.Finding) bool { return f.Check == compare.CheckHash })
	got := listPositions(t, findings, compare.CheckTransaction)
	if !slices.Equal(got, want) {
		t.Errorf("void events:\ngot  %d: %.300q\nwant %d: %.300q", len(got), got, len(want), want)
	}
	checkEqual(t, "void events", report.VoidEvents, int64(len(want)))
	checkEqual(t, "void transactions", report.VoidTransactions, 10+600)
	checkEqual(t, "accounts of void events", report.VoidAccounts, 3)
	checkEqual(t, "oldest before newest", report.Oldest < report.Newest, true)
	checkEqual(t, "balance hashes that differ", report.HashFindings, 3)
	for _, f := range hashFindings {
		wantDetail := "the newest seq of the account in the ledger is"
		if f.Account == "user:lost" {
			wantDetail = "the ledger does not have this account"
		}
		if !strings.Contains(f.Detail, wantDetail) {
			t.Errorf("finding of the hash of %s: got %q, want %q", f.Account, f.Detail, wantDetail)
		}
	}
}

// TestChangedEntriesAreFindings has entries whose transaction exists, and entries that cannot be
// compared.
func TestChangedEntriesAreFindings(t *testing.T) {
	t.Parallel()
	h := openHarness(t, ledgerdb.Postgres(t))
	h.doEachKindOfOperation()
	h.publish(accounts...)
	original := h.firstEntry("user:u1")
	other := h.firstEntry("model:m1")
	for name, tc := range map[string]struct {
		field, value string
		check        compare.Check
		detail       string
	}{
		"chain":       {"chain", "00000000000000aa", compare.CheckEvent, "the ledger has the event with the chain " + original["chain"]},
		"seq":         {"seq", "2", compare.CheckEvent, "the ledger has the transaction, but not with this event"},
		"account":     {"account", "user:u2", compare.CheckEvent, "the ledger has the transaction, but not with this event"},
		"event":       {"id", uuid.NewString(), compare.CheckEvent, "the ledger has the transaction, but not with this event"},
		"transaction": {"data", other["data"], compare.CheckEvent, "the ledger has the transaction, but not with this event"},
		"no chain":    {"chain", "", compare.CheckRecord, "chain must be 16"},
		"no number":   {"seq", "1.0", compare.CheckRecord, "seq must be a whole number"},
		"no JSON":     {"data", "{", compare.CheckRecord, "data must be an event of the ledger"},
		"no id":       {"data", "{}", compare.CheckRecord, "transactionId must be a UUID"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(original)
			changed[tc.field] = tc.value
			h.addEntry("user:u1", changed)
			_, findings := h.compareRedis("")
			last := findings[len(findings)-1]
			checkEqual(t, "check", last.Check, tc.check)
			if !strings.Contains(last.Detail, tc.detail) {
				t.Errorf("detail: got %q, want %q", last.Detail, tc.detail)
			}
			err := h.rdb.XTrimMaxLen(t.Context(), h.keys.Stream(h.keys.Partition("user:u1")), 0).Err()
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestChangedHashesAreFindings(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		h := openHarness(t, url)
		h.doEachKindOfOperation()
		h.publish(accounts...)
		for name, tc := range map[string]struct {
			account string
			fields  []any
			detail  string
		}{
			"available":    {"user:u1", []any{"available", "5"}, `available is "5", and`},
			"escrow":       {"user:u1", []any{"escrow", ""}, `escrow is "", and 0 in the ledger`},
			"earned":       {"model:m1", []any{"earned", "5"}, `earned is "5", and 11 in the ledger`},
			"chain":        {"user:u1", []any{"chain", "00000000000000aa"}, "the ledger has the chain"},
			"ahead":        {"user:u1", []any{"seq", "1000"}, "the newest seq of the account in the ledger is"},
			"behind":       {"user:u1", []any{"seq", "1"}, "the ledger has the chain"},
			"in between":   {"user:u1", []any{"seq", "3"}, "no transaction of the account ends with this seq"},
			"no seq":       {"user:u1", []any{"seq", "x"}, "seq must be a whole number"},
			"unknown user": {"user:u2", []any{"seq", "1", "available", "5"}, "the ledger does not have this account"},
		} {
			t.Run(name, func(t *testing.T) {
				key := h.keys.BalanceHash(tc.account)
				original, err := h.rdb.HGetAll(t.Context(), key).Result()
				if err != nil {
					t.Fatal(err)
				}
				h.setHash(tc.account, tc.fields...)
				report, findings := h.compareRedis("")
				if len(findings) != 1 {
					t.Fatalf("got findings %+v, want one", findings)
				}
				checkEqual(t, "hashes that are only behind", report.Behind, 0)
				checkEqual(t, "check", findings[0].Check, compare.CheckHash)
				checkEqual(t, "account", findings[0].Account, tc.account)
				if !strings.Contains(findings[0].Detail, tc.detail) {
					t.Errorf("detail: got %q, want %q", findings[0].Detail, tc.detail)
				}
				err = h.rdb.Del(t.Context(), key).Err()
				if err != nil {
					t.Fatal(err)
				}
				if len(original) > 0 {
					h.setHash(tc.account, original)
				}
			})
		}
	})
}
