package wallet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestRepeatsHaveOneEffect(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		ledgers := []*wallet.Ledger{wallettest.Open(t, url, wallet.Config{}), wallettest.Open(t, url, wallet.Config{})}
		mustDo(t, ledgers[0], credit("user:u1", 1000, "c1"))
		const keys, repeats = 20, 8
		var wg sync.WaitGroup
		receipts := make([][]wallet.Receipt, keys)
		for k := range keys {
			receipts[k] = make([]wallet.Receipt, repeats)
			for i := range repeats {
				wg.Go(func() {
					r, err := ledgers[i%2].Do(t.Context(), hold("user:u1", 10, fmt.Sprint("h", k)))
					if err != nil {
						t.Errorf("hold: %v", err)
					}
					receipts[k][i] = r
				})
			}
		}
		wg.Wait()
		for k, rs := range receipts {
			fresh := 0
			want, _ := json.Marshal(rs[0])
			for _, r := range rs {
				if !r.Replayed {
					fresh++
				}
				if got, _ := json.Marshal(r); string(got) != string(want) {
					t.Errorf("key %d: %s and %s", k, got, want)
				}
			}
			if fresh != 1 {
				t.Errorf("key %d: %d answers say that they did it", k, fresh)
			}
		}
		b, err := ledgers[1].Balance(t.Context(), "user:u1")
		if err != nil || b.Available != 1000-10*keys || b.Escrow != 10*keys || b.Seq != 1+3*keys {
			t.Errorf("balance is %+v (%v)", b, err)
		}
		assertInvariants(t, ledgers[0], "user:u1")
	})
}

func TestTwoLedgersOnTheSameAccounts(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		ledgers := []*wallet.Ledger{wallettest.Open(t, url, wallet.Config{}), wallettest.Open(t, url, wallet.Config{})}
		users := []wallet.Account{"user:a", "user:b", "user:c"}
		models := []wallet.Account{"model:x", "model:y"}
		var wg sync.WaitGroup
		for w := range 12 {
			wg.Go(func() {
				for i := range 15 {
					l, key := ledgers[(w+i)%2], fmt.Sprintf("%d-%d", w, i)
					user, model := users[(w+i)%3], models[(w*i)%2]
					if _, err := l.Do(t.Context(), credit(user, 10, key)); err != nil {
						t.Errorf("credit: %v", err)
						return
					}
					h, err := l.Do(t.Context(), hold(user, 10, key))
					if err != nil {
						t.Errorf("hold: %v", err)
						return
					}
					switch i % 3 {
					case 0:
						_, err = l.Do(t.Context(), settle(h.EscrowID, model, 10, key))
					case 1:
						_, err = l.Do(t.Context(), refund(h.EscrowID, 10, key))
					default:
						_, err = l.Do(t.Context(), partial(h.EscrowID, model, 3, 7, key))
					}
					if err != nil {
						t.Errorf("end: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		assertInvariants(t, ledgers[0], append(users, models...)...)
		var total int64
		for _, a := range append(users, models...) {
			b, err := ledgers[1].Balance(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			total += b.Available + b.Escrow + b.Earned
		}
		if total != 12*15*10 {
			t.Errorf("%d points in all, issued %d", total, 12*15*10)
		}
	})
}

func TestExpiredEscrowIsRefunded(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, credit("user:u1", 100, "c"))
		op := hold("user:u1", 60, "h")
		op.ExpiresIn = time.Second
		kept := hold("user:u1", 5, "h2")
		kept.ExpiresIn = time.Hour
		id, keptReceipt := mustDo(t, l, op).EscrowID, mustDo(t, l, kept)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			e, err := l.Escrow(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if e.Status == wallet.StatusRefunded {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatal("the escrow did not expire")
			}
		}
		events := eventsOf(t, l, "user:u1", 7)
		if events[0]["eventType"] != wallet.EventEscrowRefunded || events[0]["reason"] != wallet.ReasonExpired {
			t.Errorf("expiry gave %v", events[0])
		}
		if e, err := l.Escrow(t.Context(), keptReceipt.EscrowID); err != nil || e.Status != wallet.StatusHeld || !e.ExpiresAt.Equal(keptReceipt.Timestamp.Add(time.Hour)) {
			t.Errorf("the other escrow is %+v (%v)", e, err)
		}
		assertInvariants(t, l, "user:u1")
	})
}
