package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestTwoCoresOnTheSameTenAccounts lets a crowd keep one core busy while a few
// callers work with the other one on the same accounts, then the other way
// round: nobody fails, the few get their turns, and events keep their order.
func TestTwoCoresOnTheSameTenAccounts(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	cores := []*wallet.Ledger{wallettest.Open(t, url, wallet.Config{}), wallettest.Open(t, url, wallet.Config{})}
	const users, models = 7, 3
	for u := range users {
		mustDo(t, cores[u%2], credit(wallet.Account(fmt.Sprint("user:", u)), 1_000_000, fmt.Sprint("start", u)))
	}
	for busy := range cores {
		crowded, stop := context.WithCancel(t.Context())
		var crowd, few sync.WaitGroup
		for c := range 32 {
			crowd.Go(func() {
				for i := 0; crowded.Err() == nil && !t.Failed(); i++ {
					trade(t, cores[busy], (c+i)%users, (c*i)%models, i, fmt.Sprintf("crowd-%d-%d-%d", busy, c, i))
				}
			})
		}
		for c := range 4 {
			few.Go(func() {
				for i := 0; i < 20 && !t.Failed(); i++ {
					trade(t, cores[1-busy], (c+i)%users, (c*i)%models, i, fmt.Sprintf("few-%d-%d-%d", busy, c, i))
				}
			})
		}
		few.Wait()
		stop()
		crowd.Wait()
	}
	// Outbox ids are in the order of each account's seq: nothing was published yet.
	next, after := map[string]int64{}, int64(0)
	for {
		pending, err := cores[0].Pending(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(pending) == 0 {
			break
		}
		for _, p := range pending {
			after = p.ID
			for _, g := range p.Updates {
				for _, d := range g.Deliveries {
					if next[g.Account]++; d.Seq != next[g.Account] {
						t.Fatalf("%s: seq %d stands where %d should, in outbox row %d", g.Account, d.Seq, next[g.Account], p.ID)
					}
				}
			}
		}
	}
	if len(next) != users+models {
		t.Errorf("%d accounts have events, want %d", len(next), users+models)
	}
	if r, err := cores[1].Verify(t.Context(), wallet.VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// trade holds points and ends the hold in one of three ways.
func trade(t *testing.T, l *wallet.Ledger, user, model, way int, key string) {
	h, err := l.Do(t.Context(), hold(wallet.Account(fmt.Sprint("user:", user)), 10, key))
	if err != nil {
		t.Errorf("hold: %v", err)
		return
	}
	op := refund(h.EscrowID, 10, key)
	switch m := wallet.Account(fmt.Sprint("model:", model)); way % 3 {
	case 0:
		op = settle(h.EscrowID, m, 10, key)
	case 1:
		op = partial(h.EscrowID, m, 3, 7, key)
	}
	if _, err := l.Do(t.Context(), op); err != nil {
		t.Errorf("%s: %v", op.Operation, err)
	}
}

// TestCancelledIsInOrOut cancels callers while their operations wait or are
// being committed: each operation was done or not, and a repeat tells which.
func TestCancelledIsInOrOut(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{MaxBatch: 8})
		const n = 100
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		receipts, errs := make([]wallet.Receipt, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if receipts[i], errs[i] = l.Do(ctx, credit("user:u1", 1, fmt.Sprint(i))); errs[i] == nil {
					cancel() // the others are where they are
				}
			})
		}
		wg.Wait()
		for i := range n {
			if errs[i] != nil && !errors.Is(errs[i], context.Canceled) {
				t.Errorf("operation %d: %v", i, errs[i])
			}
			again := mustDo(t, l, credit("user:u1", 1, fmt.Sprint(i)))
			if errs[i] == nil && (!again.Replayed || again.TransactionID != receipts[i].TransactionID) {
				t.Errorf("operation %d was done as %s, its repeat is %+v", i, receipts[i].TransactionID, again)
			}
			if third := mustDo(t, l, credit("user:u1", 1, fmt.Sprint(i))); !third.Replayed || third.TransactionID != again.TransactionID {
				t.Errorf("operation %d is %s, then %+v", i, again.TransactionID, third)
			}
		}
		// Each was done once: by the first try, whoever waited for it, or by the repeat.
		if b, err := l.Balance(t.Context(), "user:u1"); err != nil || b.Available != n || b.Seq != n {
			t.Errorf("%+v, %v", b, err)
		}
		assertInvariants(t, l, "user:u1")
	})
}
