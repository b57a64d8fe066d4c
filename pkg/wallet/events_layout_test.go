package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

var errClaimRefused = errors.New("the claim was refused")

func refuseClaim(context.Context) error { return errClaimRefused }

func TestRefusedLayoutIsNotRemembered(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		err := l.CheckLayout(t.Context(), bus.Keys{Partitions: 8}, refuseClaim)
		checkError(t, "refused claim", err, errClaimRefused)
		// Another number of partitions is still possible.
		err = l.CheckLayout(t.Context(), bus.Keys{}, func(context.Context) error { return nil })
		checkError(t, "claim with other settings", err, nil)
	})
}

func TestLayoutIsClaimedAtEachStart(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		for i := range 2 {
			claimed := false
			err := l.CheckLayout(t.Context(), bus.Keys{}, func(context.Context) error {
				claimed = true
				return nil
			})
			checkError(t, fmt.Sprint("start ", i), err, nil)
			checkEqual(t, fmt.Sprint("start ", i, " claims"), claimed, true)
		}
		err := l.CheckLayout(t.Context(), bus.Keys{}, refuseClaim)
		checkError(t, "refused claim of the known layout", err, errClaimRefused)
	})
}

func TestOtherLayoutIsRefusedBeforeItsClaim(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		err := l.CheckLayout(t.Context(), bus.Keys{}, func(context.Context) error { return nil })
		checkError(t, "first claim", err, nil)
		for name, other := range map[string]bus.Keys{
			"other namespace":            {Namespace: "other"},
			"other number of partitions": {Partitions: 8},
		} {
			t.Run(name, func(t *testing.T) {
				err := l.CheckLayout(t.Context(), other, func(context.Context) error {
					t.Error("the other layout was claimed")
					return nil
				})
				checkError(t, "other layout", err, bus.ErrLayout)
			})
		}
	})
}

// TestConcurrentFirstLayoutsBindOne has cores start on a new ledger with different settings. The
// first claim fails, so that the next core claims. That one is bound, and the others are refused.
func TestConcurrentFirstLayoutsBindOne(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		var claims, bound atomic.Int32
		claim := func(context.Context) error {
			if claims.Add(1) == 1 {
				return errClaimRefused
			}
			return nil
		}
		var cores sync.WaitGroup
		for i := range 4 {
			cores.Go(func() {
				err := l.CheckLayout(t.Context(), bus.Keys{Partitions: i + 1}, claim)
				if err == nil {
					bound.Add(1)
					return
				}
				if !errors.Is(err, errClaimRefused) && !errors.Is(err, bus.ErrLayout) {
					t.Errorf("%d partitions: got error %v, want bus.ErrLayout or the claim's", i+1, err)
				}
			})
		}
		cores.Wait()
		checkEqual(t, "claims", claims.Load(), 2)
		checkEqual(t, "bound cores", bound.Load(), 1)
	})
}
