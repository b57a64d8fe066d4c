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

const (
	pressureUsers  = 7
	pressureModels = 3
)

// TestFewCallersProgressBesideABusyCore keeps one core busy with many callers while a few callers
// use the other core and the same accounts, then the other way round. No operation fails, the few
// callers finish, and events keep their order.
func TestFewCallersProgressBesideABusyCore(t *testing.T) {
	t.Parallel()
	cores := openTwo(t, ledgerdb.Postgres(t))
	for u := range pressureUsers {
		account := wallet.Account(fmt.Sprint("user:", u))
		mustDo(t, cores[u%2], newCredit(account, 1_000_000, fmt.Sprint("start", u)))
	}
	for busy := range cores {
		tradeOnBothCores(t, cores[busy], cores[1-busy], fmt.Sprint(busy))
	}
	checkOutboxOrder(t, cores[0], pressureUsers+pressureModels)
	checkLedger(t, cores[1])
}

// tradeOnBothCores returns when each of the few callers has made its trades.
func tradeOnBothCores(t *testing.T, busy, other *wallet.Ledger, key string) {
	ctx, cancel := context.WithCancel(t.Context())
	var many, few sync.WaitGroup
	for c := range 32 {
		many.Go(func() {
			for i := 0; ctx.Err() == nil && !t.Failed(); i++ {
				holdAndClose(t, busy, c, i, fmt.Sprintf("many-%s-%d-%d", key, c, i))
			}
		})
	}
	for c := range 4 {
		few.Go(func() {
			for i := 0; i < 20 && !t.Failed(); i++ {
				holdAndClose(t, other, c, i, fmt.Sprintf("few-%s-%d-%d", key, c, i))
			}
		})
	}
	few.Wait()
	cancel()
	many.Wait()
}

// holdAndClose holds points and closes the escrow in one of three ways.
func holdAndClose(t *testing.T, l *wallet.Ledger, caller, i int, key string) {
	user := wallet.Account(fmt.Sprint("user:", (caller+i)%pressureUsers))
	model := wallet.Account(fmt.Sprint("model:", (caller*i)%pressureModels))
	held, err := l.Do(t.Context(), newHold(user, 10, key))
	if err != nil {
		t.Errorf("hold: %v", err)
		return
	}
	op := newClose(held.EscrowID, model, i, key)
	_, err = l.Do(t.Context(), op)
	if err != nil {
		t.Errorf("%s: %v", op.Operation, err)
	}
}

// checkOutboxOrder wants outbox ids to be in the order of each account's seqs. The outbox must
// still have all events.
func checkOutboxOrder(t *testing.T, l *wallet.Ledger, accounts int) {
	t.Helper()
	newest := map[string]int64{}
	after := int64(0)
	for {
		rows, err := l.Pending(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			after = row.ID
			for _, update := range row.Updates {
				for _, d := range update.Deliveries {
					newest[update.Account]++
					if want := newest[update.Account]; d.Seq != want {
						t.Fatalf("outbox row %d of %s: got seq %d, want %d", row.ID, update.Account, d.Seq, want)
					}
				}
			}
		}
	}
	checkEqual(t, "accounts with events", len(newest), accounts)
}

// TestCancelledOperationIsDoneOrNot cancels callers while their operations wait or are committed.
// A retry returns the receipt of an operation that was done, and does the others.
func TestCancelledOperationIsDoneOrNot(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{MaxBatch: 8})
		const n = 100
		receipts := make([]wallet.Receipt, n)
		errs := make([]error, n)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				receipts[i], errs[i] = l.Do(ctx, newCredit("user:u1", 1, fmt.Sprint(i)))
				if errs[i] == nil {
					cancel() // while the other operations are in any state
				}
			})
		}
		wg.Wait()

		for i := range n {
			op := newCredit("user:u1", 1, fmt.Sprint(i))
			second := mustDo(t, l, op)
			switch {
			case errs[i] == nil:
				checkEqual(t, fmt.Sprint("retry ", i, " is replayed"), second.Replayed, true)
				checkEqual(t, fmt.Sprint("transaction of retry ", i), second.TransactionID, receipts[i].TransactionID)
			case !errors.Is(errs[i], context.Canceled):
				t.Errorf("operation %d: got error %v, want context.Canceled", i, errs[i])
			}
			third := mustDo(t, l, op)
			checkEqual(t, fmt.Sprint("second retry ", i, " is replayed"), third.Replayed, true)
			checkEqual(t, fmt.Sprint("transaction of second retry ", i), third.TransactionID, second.TransactionID)
		}
		checkBalance(t, l, "user:u1", wallet.Balance{Available: n, Seq: n})
		checkAccounts(t, l, "user:u1")
	})
}
