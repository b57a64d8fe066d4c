package wallet_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The builders of operations fill in valid values for the fields that most tests do not name.

func newCredit(a wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpCredit,
		Account:        a,
		Amount:         amount,
		Reason:         "admin_credit",
		IdempotencyKey: key,
	}
}

func newDebit(a wallet.Account, amount int64, reason, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpDebit,
		Account:        a,
		Amount:         amount,
		Reason:         reason,
		IdempotencyKey: key,
	}
}

func newHold(a wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpHold,
		Account:        a,
		Amount:         amount,
		Reason:         "chip_menu_purchase",
		IdempotencyKey: key,
		QueueItemID:    "q-1",
		FeatureType:    "chip_menu",
	}
}

func newSettle(escrow uuid.UUID, model wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpSettle,
		EscrowID:       escrow,
		Model:          model,
		Amount:         amount,
		Reason:         "performance_completed",
		IdempotencyKey: key,
		QueueItemID:    "q-1",
	}
}

func newRefund(escrow uuid.UUID, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpRefund,
		EscrowID:       escrow,
		Amount:         amount,
		Reason:         "performance_abandoned",
		IdempotencyKey: key,
		QueueItemID:    "q-1",
	}
}

func newPartialSettle(escrow uuid.UUID, model wallet.Account, refunded, settled int64, key string) wallet.Op {
	return wallet.Op{
		Operation:      wallet.OpPartialSettle,
		EscrowID:       escrow,
		Model:          model,
		RefundAmount:   refunded,
		SettleAmount:   settled,
		Reason:         "partial_performance",
		IdempotencyKey: key,
		QueueItemID:    "q-1",
	}
}

// mustDo does the operation and ends the test if it fails.
func mustDo(t testing.TB, l *wallet.Ledger, op wallet.Op) wallet.Receipt {
	t.Helper()
	r, err := l.Do(t.Context(), op)
	if err != nil {
		t.Fatalf("%s %s: %v", op.Operation, op.IdempotencyKey, err)
	}
	return r
}

// mustDoBatch does the operations as one batch and ends the test if one of them fails.
func mustDoBatch(t testing.TB, l *wallet.Ledger, ops []wallet.Op) {
	t.Helper()
	for i, r := range l.DoBatch(t.Context(), ops) {
		if r.Err != nil {
			t.Fatalf("operation %d of the batch: %v", i, r.Err)
		}
	}
}

// readEvents returns the account's events with a seq above after, decoded.
func readEvents(t testing.TB, l *wallet.Ledger, a wallet.Account, after int64) []map[string]any {
	t.Helper()
	events, last, err := l.Events(t.Context(), a, after, 1000)
	if err != nil {
		t.Fatalf("events of %s: %v", a, err)
	}
	decoded := make([]map[string]any, len(events))
	for i, e := range events {
		if want := after + int64(i) + 1; e.Seq != want {
			t.Fatalf("event %d of %s: got seq %d, want %d", i, a, e.Seq, want)
		}
		err := json.Unmarshal(e.Event, &decoded[i])
		if err != nil {
			t.Fatalf("event %d of %s: %v in %s", i, a, err, e.Event)
		}
	}
	if want := after + int64(len(events)); last != want {
		t.Fatalf("last seq of %s: got %d, want %d", a, last, want)
	}
	return decoded
}

// checkEqual names the value that differs from the expected one.
func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// checkError compares an error with the expected one, which may be nil.
func checkError(t testing.TB, name string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", name, got, want)
	}
}

// checkBalance compares the account's balance with the expected one. It does not compare UpdatedAt.
func checkBalance(t testing.TB, l *wallet.Ledger, a wallet.Account, want wallet.Balance) {
	t.Helper()
	got, err := l.Balance(t.Context(), a)
	if err != nil {
		t.Errorf("balance of %s: %v", a, err)
		return
	}
	checkEqual(t, string(a)+" available", got.Available, want.Available)
	checkEqual(t, string(a)+" escrow", got.Escrow, want.Escrow)
	checkEqual(t, string(a)+" earned", got.Earned, want.Earned)
	checkEqual(t, string(a)+" seq", got.Seq, want.Seq)
}

// checkLedger audits the whole ledger, which must have no findings.
func checkLedger(t testing.TB, l *wallet.Ledger) {
	t.Helper()
	report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
	if err != nil {
		t.Errorf("verify ledger: %v", err)
		return
	}
	if !report.OK() {
		t.Errorf("verify ledger: got findings %+v, want none", report.Findings)
	}
}

// checkAccounts checks through the public API that the balance, the entries, the escrows, the events
// and the chains of each account agree. It skips accounts that do not exist.
func checkAccounts(t testing.TB, l *wallet.Ledger, accounts ...wallet.Account) {
	t.Helper()
	for _, a := range accounts {
		balance, err := l.Balance(t.Context(), a)
		if errors.Is(err, wallet.ErrAccountNotFound) {
			continue
		}
		if err != nil {
			t.Fatalf("balance of %s: %v", a, err)
		}
		entries := readEntries(t, l, a)
		checkEntries(t, a, balance, entries)
		checkHeldEscrows(t, l, a, balance)
		checkEvents(t, l, a, balance, entries)
		wallet.CheckChains(t, l, a)
	}
}

// readEntries reads all entries of the account in small pages.
func readEntries(t testing.TB, l *wallet.Ledger, a wallet.Account) map[uuid.UUID]wallet.Entry {
	t.Helper()
	entries := map[uuid.UUID]wallet.Entry{}
	page := wallet.Page{Limit: 7}
	for {
		list, next, err := l.Entries(t.Context(), a, wallet.EntryFilter{}, page)
		if err != nil {
			t.Fatalf("entries of %s: %v", a, err)
		}
		for _, e := range list {
			entries[e.ID] = e
		}
		if next == "" {
			return entries
		}
		page.Before = next
	}
}

func checkEntries(t testing.TB, a wallet.Account, balance wallet.Balance, entries map[uuid.UUID]wallet.Entry) {
	t.Helper()
	sums := map[wallet.BalanceState]int64{}
	for _, e := range entries {
		sums[e.State] += e.Amount
		if want := e.BalanceBefore + e.Amount; e.BalanceAfter != want {
			t.Errorf("%s entry %d: got balance after %d, want %d", a, e.Seq, e.BalanceAfter, want)
		}
	}
	checkEqual(t, string(a)+" sum of available entries", sums[wallet.StateAvailable], balance.Available)
	checkEqual(t, string(a)+" sum of escrow entries", sums[wallet.StateEscrow], balance.Escrow)
	checkEqual(t, string(a)+" sum of earned entries", sums[wallet.StateEarned], balance.Earned)
}

func checkHeldEscrows(t testing.TB, l *wallet.Ledger, a wallet.Account, balance wallet.Balance) {
	t.Helper()
	if !a.IsUser() {
		return
	}
	escrows, _, err := l.Escrows(t.Context(), a, wallet.StatusHeld, wallet.Page{Limit: 1000})
	if err != nil {
		t.Fatalf("escrows of %s: %v", a, err)
	}
	var held int64
	for _, e := range escrows {
		held += e.Amount
	}
	checkEqual(t, string(a)+" sum of held escrows", held, balance.Escrow)
}

// checkEvents reads all events of the account in pages. Their seqs have no gaps, and each
// balance_updated event agrees with its entry.
func checkEvents(t testing.TB, l *wallet.Ledger, a wallet.Account, balance wallet.Balance, entries map[uuid.UUID]wallet.Entry) {
	t.Helper()
	after := int64(0)
	updates := 0
	for {
		events, last, err := l.Events(t.Context(), a, after, 50)
		if err != nil {
			t.Fatalf("events of %s: %v", a, err)
		}
		checkEqual(t, string(a)+" last seq", last, balance.Seq)
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			checkEqual(t, string(a)+" next seq", e.Seq, after+1)
			after = e.Seq
			if checkBalanceEvent(t, a, e, entries) {
				updates++
			}
		}
	}
	checkEqual(t, string(a)+" seq of the last event", after, balance.Seq)
	checkEqual(t, string(a)+" balance_updated events", updates, len(entries))
}

// checkBalanceEvent reports whether the event is a balance_updated event, and compares it with the
// entry that it names.
func checkBalanceEvent(t testing.TB, a wallet.Account, e wallet.AccountEvent, entries map[uuid.UUID]wallet.Entry) bool {
	t.Helper()
	var event struct {
		EventType     string
		LedgerEntryID uuid.UUID
		BalanceBefore int64
		BalanceAfter  int64
	}
	err := json.Unmarshal(e.Event, &event)
	if err != nil {
		t.Fatalf("event %d of %s: %v in %s", e.Seq, a, err, e.Event)
	}
	if event.EventType != wallet.EventBalanceUpdated {
		return false
	}
	entry, found := entries[event.LedgerEntryID]
	if !found {
		t.Errorf("event %d of %s: names the unknown entry %s", e.Seq, a, event.LedgerEntryID)
		return true
	}
	checkEqual(t, string(a)+" seq of the event's entry", entry.Seq, e.Seq)
	checkEqual(t, string(a)+" balance before in the event", event.BalanceBefore, entry.BalanceBefore)
	checkEqual(t, string(a)+" balance after in the event", event.BalanceAfter, entry.BalanceAfter)
	return true
}
