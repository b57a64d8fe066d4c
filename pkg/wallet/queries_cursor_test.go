package wallet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// escrowsBeforeWriters is how many escrows user:u1 has before startWriters begins.
const escrowsBeforeWriters = 40

// startWriters opens escrows of user:u1, then keeps changing the account until stop is called.
func startWriters(t *testing.T, l *wallet.Ledger) (stop func()) {
	t.Helper()
	mustDo(t, l, newCredit("user:u1", 1_000_000, "start"))
	trade := func(key string, settle bool) {
		held, err := l.Do(t.Context(), newHold("user:u1", 1, key))
		if err == nil && settle {
			_, err = l.Do(t.Context(), newSettle(held.EscrowID, "model:m1", 1, key))
		}
		if err != nil {
			t.Errorf("trade %s: %v", key, err)
		}
	}
	for i := range escrowsBeforeWriters {
		trade(fmt.Sprint("before", i), i%2 == 0)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil && !t.Failed(); i++ {
				trade(fmt.Sprint("writer-", w, "-", i), i%2 == 0)
			}
		})
	}
	return func() {
		cancel()
		writers.Wait()
	}
}

// TestEntryPagesAreConsistentWhileOthersWrite pages through an account's entries while it changes.
// The pages hold the entries that existed at the first page, each once and in order, and no others.
func TestEntryPagesAreConsistentWhileOthersWrite(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		stop := startWriters(t, l)
		defer stop()
		for range 2 {
			got := pageThroughSeqs(t, l, "user:u1")
			var want []int64
			err := l.Export(t.Context(), "user:u1", wallet.EntryFilter{}, func(e *wallet.Entry) error {
				if e.Seq <= got[0] {
					want = append(want, e.Seq)
				}
				return nil
			})
			checkError(t, "export", err, nil)
			slices.Reverse(want) // an export begins with the oldest entry
			if !slices.Equal(got, want) {
				t.Errorf("pages up to seq %d: got %d entries, want %d in order", got[0], len(got), len(want))
			}
		}
	})
}

// pageThroughSeqs returns the seqs of the account's entries, newest first.
func pageThroughSeqs(t *testing.T, l *wallet.Ledger, a wallet.Account) []int64 {
	t.Helper()
	var seqs []int64
	page := wallet.Page{Limit: 15}
	for {
		entries, next, err := l.Entries(t.Context(), a, wallet.EntryFilter{}, page)
		if err != nil {
			t.Fatalf("entries of %s: %v", a, err)
		}
		for _, e := range entries {
			seqs = append(seqs, e.Seq)
		}
		if next == "" {
			return seqs
		}
		page.Before = next
	}
}

// TestEscrowPagesAreConsistentWhileOthersWrite does the same with the account's escrows.
func TestEscrowPagesAreConsistentWhileOthersWrite(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		stop := startWriters(t, l)
		defer stop()
		for range 2 {
			seen := map[uuid.UUID]bool{}
			ofUser := 0
			page := wallet.Page{Limit: 15}
			for {
				escrows, next, err := l.Escrows(t.Context(), "user:u1", "", page)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range escrows {
					if seen[e.ID] {
						t.Errorf("escrow %s is on two pages", e.ID)
					}
					seen[e.ID] = true
					if e.User == "user:u1" && strings.HasPrefix(e.QueueItemID, "q-") {
						ofUser++
					}
				}
				if next == "" {
					break
				}
				page.Before = next
			}
			if ofUser < escrowsBeforeWriters {
				t.Errorf("escrows: got %d, want at least the %d that existed before", ofUser, escrowsBeforeWriters)
			}
		}
	})
}
