package wallet_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// op builders: what a test does not care about has a value that is right.

func credit(a wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{Operation: wallet.OpCredit, Account: a, Amount: amount, Reason: "admin_credit", IdempotencyKey: key}
}

func hold(a wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation: wallet.OpHold, Account: a, Amount: amount, Reason: "chip_menu_purchase", IdempotencyKey: key,
		QueueItemID: "q-1", FeatureType: "chip_menu",
	}
}

func settle(escrow uuid.UUID, model wallet.Account, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation: wallet.OpSettle, EscrowID: escrow, Model: model, Amount: amount, Reason: "performance_completed",
		IdempotencyKey: key, QueueItemID: "q-1",
	}
}

func refund(escrow uuid.UUID, amount int64, key string) wallet.Op {
	return wallet.Op{
		Operation: wallet.OpRefund, EscrowID: escrow, Amount: amount, Reason: "performance_abandoned",
		IdempotencyKey: key, QueueItemID: "q-1",
	}
}

func partial(escrow uuid.UUID, model wallet.Account, back, earned int64, key string) wallet.Op {
	return wallet.Op{
		Operation: wallet.OpPartialSettle, EscrowID: escrow, Model: model, RefundAmount: back, SettleAmount: earned,
		Reason: "partial_performance", IdempotencyKey: key, QueueItemID: "q-1",
	}
}

func mustDo(t testing.TB, l *wallet.Ledger, op wallet.Op) wallet.Receipt {
	t.Helper()
	r, err := l.Do(t.Context(), op)
	if err != nil {
		t.Fatalf("%s %s: %v", op.Operation, op.IdempotencyKey, err)
	}
	return r
}

func eventsOf(t testing.TB, l *wallet.Ledger, a wallet.Account, after int64) []map[string]any {
	t.Helper()
	events, last, err := l.Events(t.Context(), a, after, 1000)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	out := make([]map[string]any, len(events))
	for i, e := range events {
		if e.Seq != after+int64(i)+1 {
			t.Fatalf("event %d of %s has seq %d", i, a, e.Seq)
		}
		if err := json.Unmarshal(e.Event, &out[i]); err != nil {
			t.Fatalf("event: %v in %s", err, e.Event)
		}
	}
	if last != after+int64(len(events)) {
		t.Fatalf("last is %d after %d events from %d", last, len(events), after)
	}
	return out
}

// assertInvariants checks an account's whole story through the public API.
func assertInvariants(t testing.TB, l *wallet.Ledger, accounts ...wallet.Account) {
	t.Helper()
	for _, a := range accounts {
		b, err := l.Balance(t.Context(), a)
		if errors.Is(err, wallet.ErrAccountNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sums := map[wallet.BalanceState]int64{}
		cursor := ""
		entries := map[uuid.UUID]wallet.Entry{}
		for {
			page, next, err := l.Entries(t.Context(), a, wallet.EntryFilter{}, wallet.Page{Limit: 7, Before: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				sums[e.State] += e.Amount
				entries[e.ID] = e
				if e.BalanceBefore+e.Amount != e.BalanceAfter {
					t.Errorf("%s entry %d: %d + %d is not %d", a, e.Seq, e.BalanceBefore, e.Amount, e.BalanceAfter)
				}
			}
			if next == "" {
				break
			}
			cursor = next
		}
		if sums[wallet.StateAvailable] != b.Available || sums[wallet.StateEscrow] != b.Escrow || sums[wallet.StateEarned] != b.Earned {
			t.Errorf("%s: entries sum to %v, balance is %+v", a, sums, b)
		}
		var held int64
		if a.IsUser() {
			escrows, _, err := l.Escrows(t.Context(), a, wallet.StatusHeld, wallet.Page{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range escrows {
				held += e.Amount
			}
			if held != b.Escrow {
				t.Errorf("%s: held escrows sum to %d, balance says %d", a, held, b.Escrow)
			}
		}
		after, updates := int64(0), 0
		for {
			events, last, err := l.Events(t.Context(), a, after, 50)
			if err != nil {
				t.Fatal(err)
			}
			if last != b.Seq {
				t.Errorf("%s: last is %d, balance's seq %d", a, last, b.Seq)
			}
			if len(events) == 0 {
				break
			}
			for _, e := range events {
				if e.Seq != after+1 {
					t.Errorf("%s: seq %d after %d", a, e.Seq, after)
				}
				after = e.Seq
				var v struct {
					EventType     string
					LedgerEntryID uuid.UUID
					BalanceBefore int64
					BalanceAfter  int64
				}
				if err := json.Unmarshal(e.Event, &v); err != nil {
					t.Fatal(err)
				}
				if v.EventType != wallet.EventBalanceUpdated {
					continue
				}
				updates++
				if entry, ok := entries[v.LedgerEntryID]; !ok || entry.Seq != e.Seq || entry.BalanceAfter != v.BalanceAfter || entry.BalanceBefore != v.BalanceBefore {
					t.Errorf("%s seq %d: the event says %+v, the entry %+v", a, e.Seq, v, entry)
				}
			}
		}
		if after != b.Seq || updates != len(entries) {
			t.Errorf("%s: %d events and %d updates for seq %d and %d entries", a, after, updates, b.Seq, len(entries))
		}
	}
}
