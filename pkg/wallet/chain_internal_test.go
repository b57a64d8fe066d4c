package wallet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// checkerT is implemented by *testing.T, testing.TB and *rapid.T.
type checkerT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// historicEvent is an event's chain, as the account's entries determine it.
type historicEvent struct {
	transaction uuid.UUID
	seq         int64
	chain       bus.Chain
}

// CheckChains computes the chains of an account from its entries, and compares them with those of
// its events, its balance and its positions.
func CheckChains(t checkerT, l *Ledger, a Account) {
	t.Helper()
	ctx := context.Background()
	history := computeChains(t, l, a)
	updates, err := l.UpdatesAfter(ctx, string(a), 0, 1000)
	if err != nil {
		t.Fatalf("updates of %s: %v", a, err)
	}
	checkUpdateChains(t, a, updates, history)

	balance, err := l.Balance(ctx, a)
	if err != nil {
		t.Fatalf("balance of %s: %v", a, err)
	}
	last := history[len(history)-1]
	if balance.Chain != last.chain || balance.Seq != last.seq {
		t.Errorf("balance of %s: got seq %d and chain %s, want %d and %s", a, balance.Seq, balance.Chain, last.seq, last.chain)
	}

	events, _, err := l.Events(ctx, a, 0, 1000)
	if err != nil {
		t.Fatalf("events of %s: %v", a, err)
	}
	if len(events) != len(history) {
		t.Fatalf("events of %s: got %d, want %d", a, len(events), len(history))
	}
	for i, e := range events {
		if e.Seq != history[i].seq || e.Chain != history[i].chain {
			t.Errorf("event %d of %s: got chain %s, want %s", e.Seq, a, e.Chain, history[i].chain)
		}
	}
	checkPositionChains(t, l, a, history)
}

// computeChains returns the account's events with their chains. It is independent of the rules.
func computeChains(t checkerT, l *Ledger, a Account) []historicEvent {
	t.Helper()
	var history []historicEvent
	hash := make([]byte, sha256.Size)
	err := l.Export(context.Background(), a, EntryFilter{}, func(e *Entry) error {
		hasOwnEvent := e.Operation != OpCredit && e.Operation != OpDebit
		isFirst := len(history) == 0 || history[len(history)-1].transaction != e.TransactionID
		if hasOwnEvent && isFirst {
			sum := sha256.Sum256(slices.Concat(hash, e.TransactionID[:]))
			chain := bus.Chain(binary.BigEndian.Uint64(sum[:]))
			history = append(history, historicEvent{e.TransactionID, e.Seq - 1, chain})
		}
		hash = e.Hash
		history = append(history, historicEvent{e.TransactionID, e.Seq, bus.Chain(binary.BigEndian.Uint64(hash))})
		return nil
	})
	if err != nil {
		t.Fatalf("entries of %s: %v", a, err)
	}
	if len(history) == 0 {
		t.Fatalf("entries of %s: got none", a)
	}
	return history
}

// checkUpdateChains compares the chains of an account's updates with its history. The chain before
// an update must be the chain after the previous one.
func checkUpdateChains(t checkerT, a Account, updates []bus.AccountUpdate, history []historicEvent) {
	t.Helper()
	var chain bus.Chain
	next := 0
	for _, u := range updates {
		if u.Before != chain {
			t.Errorf("update %s: got chain %s before it, want %s", u.Key, u.Before, chain)
		}
		for _, d := range u.Deliveries {
			if next == len(history) {
				t.Fatalf("updates of %s: got an event %d, want %d events", a, d.Seq, next)
			}
			want := history[next]
			if d.Seq != want.seq || d.Chain != want.chain {
				t.Errorf("update %s: got seq %d and chain %s, want %d and %s", u.Key, d.Seq, d.Chain, want.seq, want.chain)
			}
			chain = d.Chain
			next++
		}
		if u.Balance.Chain != chain {
			t.Errorf("update %s: got chain %s in its balance, want %s", u.Key, u.Balance.Chain, chain)
		}
	}
	if next != len(history) {
		t.Errorf("updates of %s: got %d events, want %d", a, next, len(history))
	}
}

// checkPositionChains asks for the chain at each seq of the account, at seq 0, and at seqs that the
// account does not have.
func checkPositionChains(t checkerT, l *Ledger, a Account, history []historicEvent) {
	t.Helper()
	ctx := context.Background()
	last := history[len(history)-1]
	unknown := string(a) + "-unknown"
	positions := []bus.Position{
		{Account: string(a), Seq: last.seq + 1},
		{Account: string(a), Seq: 0},
		{Account: unknown, Seq: 1},
		{Account: unknown, Seq: 0},
	}
	wantChains := []bus.Chain{0, 0, 0, 0}
	wantFound := []bool{false, true, false, true}
	for _, e := range slices.Backward(history) {
		positions = append(positions, bus.Position{Account: string(a), Seq: e.seq})
		wantChains = append(wantChains, e.chain)
		wantFound = append(wantFound, true)
	}
	chains, found, err := l.ChainsAt(ctx, positions)
	if err != nil {
		t.Fatalf("chains of %s: %v", a, err)
	}
	if !slices.Equal(chains, wantChains) || !slices.Equal(found, wantFound) {
		t.Errorf("chains of %s at %v:\ngot  %v %v\nwant %v %v", a, positions, chains, found, wantChains, wantFound)
	}

	newest, err := l.Positions(ctx, []string{unknown, string(a)})
	if err != nil {
		t.Fatalf("positions of %s: %v", a, err)
	}
	want := []bus.Position{
		{Account: unknown},
		{Account: string(a), Seq: last.seq, Chain: last.chain},
	}
	if !slices.Equal(newest, want) {
		t.Errorf("newest positions: got %v, want %v", newest, want)
	}
}
