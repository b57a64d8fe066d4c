package wallet_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// openTwo opens the database twice, as two cores do.
func openTwo(t *testing.T, url string) [2]*wallet.Ledger {
	t.Helper()
	return [2]*wallet.Ledger{
		wallettest.Open(t, url, wallet.Config{}),
		wallettest.Open(t, url, wallet.Config{}),
	}
}

func TestConcurrentRetriesAreOneHold(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		const keys = 20
		const retries = 8
		ledgers := openTwo(t, url)
		mustDo(t, ledgers[0], newCredit("user:u1", 1000, "c1"))
		var wg sync.WaitGroup
		var receipts [keys][retries]wallet.Receipt
		for k := range keys {
			for i := range retries {
				wg.Go(func() {
					r, err := ledgers[i%2].Do(t.Context(), newHold("user:u1", 10, fmt.Sprint("h", k)))
					if err != nil {
						t.Errorf("hold %d, retry %d: %v", k, i, err)
					}
					receipts[k][i] = r
				})
			}
		}
		wg.Wait()
		for k := range keys {
			checkOneReceipt(t, fmt.Sprint("key ", k), receipts[k][:])
		}
		checkBalance(t, ledgers[1], "user:u1", wallet.Balance{
			Available: 1000 - 10*keys,
			Escrow:    10 * keys,
			Seq:       1 + 3*keys,
		})
		checkAccounts(t, ledgers[0], "user:u1")
	})
}

// checkOneReceipt wants all receipts to be the same, and all but one to be replayed.
func checkOneReceipt(t *testing.T, name string, receipts []wallet.Receipt) {
	t.Helper()
	want := encodeReceipt(t, receipts[0])
	original := 0
	for _, r := range receipts {
		if !r.Replayed {
			original++
		}
		checkEqual(t, name+": receipt", encodeReceipt(t, r), want)
	}
	checkEqual(t, name+": receipts that are not replayed", original, 1)
}

func encodeReceipt(t *testing.T, r wallet.Receipt) string {
	t.Helper()
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Errorf("encode receipt: %v", err)
	}
	return string(encoded)
}

func TestTwoCoresShareAccounts(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		const workers = 12
		const rounds = 15
		ledgers := openTwo(t, url)
		users := []wallet.Account{"user:a", "user:b", "user:c"}
		models := []wallet.Account{"model:x", "model:y"}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range rounds {
					user := users[(w+i)%3]
					model := models[(w*i)%2]
					err := creditAndClose(t, ledgers[(w+i)%2], user, model, i, fmt.Sprintf("%d-%d", w, i))
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()

		accounts := slices.Concat(users, models)
		checkAccounts(t, ledgers[0], accounts...)
		var total int64
		for _, a := range accounts {
			b, err := ledgers[1].Balance(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			total += b.Available + b.Escrow + b.Earned
		}
		checkEqual(t, "points in all accounts", total, workers*rounds*10)
	})
}

// creditAndClose credits 10 points, holds them, and closes the escrow in one of three ways.
func creditAndClose(t *testing.T, l *wallet.Ledger, user, model wallet.Account, way int, key string) error {
	_, err := l.Do(t.Context(), newCredit(user, 10, key))
	if err != nil {
		return fmt.Errorf("credit: %w", err)
	}
	held, err := l.Do(t.Context(), newHold(user, 10, key))
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	op := newClose(held.EscrowID, model, way, key)
	_, err = l.Do(t.Context(), op)
	if err != nil {
		return fmt.Errorf("%s: %w", op.Operation, err)
	}
	return nil
}

// newClose closes an escrow of 10 points in one of three ways.
func newClose(escrow uuid.UUID, model wallet.Account, way int, key string) wallet.Op {
	switch way % 3 {
	case 0:
		return newSettle(escrow, model, 10, key)
	case 1:
		return newRefund(escrow, 10, key)
	default:
		return newPartialSettle(escrow, model, 3, 7, key)
	}
}

func TestExpiredEscrowIsRefunded(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, newCredit("user:u1", 100, "c"))
		short := newHold("user:u1", 60, "h")
		short.ExpiresIn = time.Second
		expiring := mustDo(t, l, short)
		long := newHold("user:u1", 5, "h2")
		long.ExpiresIn = time.Hour
		kept := mustDo(t, l, long)

		waitUntilRefunded(t, l, expiring.EscrowID)
		refunded := readEvents(t, l, "user:u1", 7)[0]
		checkEqual[any](t, "type of the event", refunded["eventType"], wallet.EventEscrowRefunded)
		checkEqual[any](t, "reason of the event", refunded["reason"], wallet.ReasonExpired)

		e, err := l.Escrow(t.Context(), kept.EscrowID)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "status of the other escrow", e.Status, wallet.StatusHeld)
		if want := kept.Timestamp.Add(time.Hour); !e.ExpiresAt.Equal(want) {
			t.Errorf("expiry of the other escrow: got %v, want %v", e.ExpiresAt, want)
		}
		checkAccounts(t, l, "user:u1")
	})
}

func waitUntilRefunded(t *testing.T, l *wallet.Ledger, escrow uuid.UUID) {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := l.Escrow(t.Context(), escrow)
		if err != nil {
			t.Fatal(err)
		}
		if e.Status == wallet.StatusRefunded {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("status of escrow %s: got %s, want it refunded within a minute", escrow, e.Status)
		}
	}
}
