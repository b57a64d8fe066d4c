package compare_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/compare"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// harness is a ledger and a Redis namespace to which the test publishes the ledger's events.
type harness struct {
	*testing.T
	ledger *wallet.Ledger
	rdb    redis.UniversalClient
	keys   bus.Keys
}

// openHarness opens the ledger of a database.
func openHarness(t *testing.T, databaseURL string) *harness {
	t.Helper()
	h := newHarness(t)
	h.ledger = openLedger(t, databaseURL)
	return h
}

// newHarness returns a harness without a ledger.
func newHarness(t *testing.T) *harness {
	t.Helper()
	url, namespace := testenv.Redis(t)
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return &harness{
		T:    t,
		rdb:  rdb,
		keys: bus.Keys{Namespace: namespace, Partitions: 4},
	}
}

func openLedger(t *testing.T, databaseURL string) *wallet.Ledger {
	t.Helper()
	return wallettest.Open(t, databaseURL, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
}

// withLedger calls the function as a subtest with an open ledger, and closes the ledger.
func (h *harness) withLedger(name, databaseURL string, call func(*harness)) {
	h.Helper()
	ok := h.Run(name, func(t *testing.T) {
		inner := *h
		inner.T = t
		inner.ledger = openLedger(t, databaseURL)
		call(&inner)
	})
	if !ok {
		h.FailNow()
	}
}

func (h *harness) commit(op wallet.Op) wallet.Receipt {
	h.Helper()
	op.IdempotencyKey = uuid.NewString()
	op.Reason = "test"
	receipt, err := h.ledger.Do(h.Context(), op)
	if err != nil {
		h.Fatal(err)
	}
	return receipt
}

func (h *harness) credit(account wallet.Account, amount int64) wallet.Receipt {
	h.Helper()
	return h.commit(wallet.Op{Operation: wallet.OpCredit, Account: account, Amount: amount})
}

func (h *harness) hold(user wallet.Account, amount int64) wallet.Receipt {
	h.Helper()
	return h.commit(wallet.Op{Operation: wallet.OpHold, Account: user, Amount: amount, QueueItemID: "q", FeatureType: "f"})
}

// doEachKindOfOperation changes user:u1 and model:m1.
func (h *harness) doEachKindOfOperation() {
	h.Helper()
	h.credit("user:u1", 100)
	h.commit(wallet.Op{Operation: wallet.OpDebit, Account: "user:u1", Amount: 1})
	settle := wallet.Op{Operation: wallet.OpSettle, Model: "model:m1", Amount: 5, QueueItemID: "q"}
	settle.EscrowID = h.hold("user:u1", 5).EscrowID
	h.commit(settle)
	refund := wallet.Op{Operation: wallet.OpRefund, Amount: 6, QueueItemID: "q"}
	refund.EscrowID = h.hold("user:u1", 6).EscrowID
	h.commit(refund)
	partial := wallet.Op{Operation: wallet.OpPartialSettle, Model: "model:m1", RefundAmount: 3, SettleAmount: 4, QueueItemID: "q"}
	partial.EscrowID = h.hold("user:u1", 7).EscrowID
	h.commit(partial)
	h.credit("model:m1", 2)
}

// publish publishes all events of the accounts that Redis does not have, and returns their number.
func (h *harness) publish(accounts ...string) int {
	h.Helper()
	p := publish.New(h.rdb, publish.Config{Keys: h.keys})
	events := 0
	for _, account := range accounts {
		after := int64(0)
		for {
			updates, err := h.ledger.UpdatesAfter(h.Context(), account, after, 100)
			if err != nil {
				h.Fatal(err)
			}
			if len(updates) == 0 {
				break
			}
			var pubs []publish.Publication
			for _, u := range updates {
				pubs = append(pubs, publish.Publication{Update: u})
				events += len(u.Deliveries)
				after = u.Last()
			}
			_, err = p.Publish(h.Context(), pubs)
			if err != nil {
				h.Fatal(err)
			}
		}
	}
	return events
}

// addEntry adds a stream entry of the account's partition.
func (h *harness) addEntry(account string, fields map[string]string) {
	h.Helper()
	values := map[string]any{}
	for name, value := range fields {
		values[name] = value
	}
	stream := h.keys.Stream(h.keys.Partition(account))
	err := h.rdb.XAdd(h.Context(), &redis.XAddArgs{Stream: stream, Values: values}).Err()
	if err != nil {
		h.Fatal(err)
	}
}

// firstEntry returns the fields of the first entry of the account.
func (h *harness) firstEntry(account string) map[string]string {
	h.Helper()
	entries, err := h.rdb.XRange(h.Context(), h.keys.Stream(h.keys.Partition(account)), "-", "+").Result()
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range entries {
		if e.Values["account"] != account {
			continue
		}
		fields := map[string]string{}
		for name, value := range e.Values {
			fields[name] = fmt.Sprint(value)
		}
		return fields
	}
	h.Fatalf("the stream has no entry of %s", account)
	return nil
}

func (h *harness) setHash(account string, fields ...any) {
	h.Helper()
	err := h.rdb.HSet(h.Context(), h.keys.BalanceHash(account), fields...).Err()
	if err != nil {
		h.Fatal(err)
	}
}

// compareRedis returns the report and the findings.
func (h *harness) compareRedis(account string) (*compare.Report, []compare.Finding) {
	h.Helper()
	var findings []compare.Finding
	report, err := compare.Redis(h.Context(), h.ledger, h.rdb, h.keys, compare.Options{
		Account: account,
		Found:   func(f *compare.Finding) error { findings = append(findings, *f); return nil },
	})
	if err != nil {
		h.Fatal(err)
	}
	checkEqual(h, "findings that the report counts", report.FindingCount, int64(len(findings)))
	checkEqual(h, "ok", report.OK, len(findings) == 0)
	return report, findings
}

// compareFile returns the report and the findings.
func (h *harness) compareFile(content string) (*compare.Report, []compare.Finding) {
	h.Helper()
	var findings []compare.Finding
	report, err := compare.File(h.Context(), h.ledger, strings.NewReader(content), compare.Options{
		Found: func(f *compare.Finding) error { findings = append(findings, *f); return nil },
	})
	if err != nil {
		h.Fatal(err)
	}
	return report, findings
}

// listPositions returns account, seq, chain and transaction of findings of one check, sorted.
func listPositions(t testing.TB, findings []compare.Finding, check compare.Check) []string {
	t.Helper()
	var list []string
	for _, f := range findings {
		checkEqual(t, "check of a finding", f.Check, check)
		list = append(list, strings.Join([]string{f.Account, fmt.Sprint(f.Seq), f.Chain, f.TransactionID, f.EventType}, " "))
	}
	slices.Sort(list)
	return list
}

// ledgerPositions returns the same of the ledger's events with a seq greater than after.
func (h *harness) ledgerPositions(after map[string]int64) []string {
	h.Helper()
	var list []string
	for _, account := range slices.Sorted(maps.Keys(after)) {
		updates, err := h.ledger.UpdatesAfter(h.Context(), account, after[account], 1000)
		if err != nil {
			h.Fatal(err)
		}
		for _, u := range updates {
			transaction, _, _ := strings.Cut(u.Key, ":")
			for _, d := range u.Deliveries {
				list = append(list, strings.Join([]string{account, fmt.Sprint(d.Seq), d.Chain.String(), transaction, d.Type}, " "))
			}
		}
	}
	slices.Sort(list)
	return list
}

func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}
