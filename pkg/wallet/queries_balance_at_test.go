package wallet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// moment is a time with the balance that the user had then.
type moment struct {
	at   time.Time
	want wallet.Balance
}

// recordMoments does operations at times that differ, and records the user's balance after each.
func recordMoments(t *testing.T, l *wallet.Ledger) []moment {
	t.Helper()
	var moments []moment
	record := func(op wallet.Op) wallet.Receipt {
		r := mustDo(t, l, op)
		moments = append(moments, moment{at: r.Timestamp, want: r.Balances[0]})
		waitUntilAfter(r.Timestamp.Add(2 * time.Millisecond))
		return r
	}
	record(newCredit("user:u1", 100, "c"))
	for i := range 12 {
		held := record(newHold("user:u1", 5, fmt.Sprint("h", i)))
		record(newPartialSettle(held.EscrowID, "model:m1", 2, 3, fmt.Sprint("p", i)))
	}
	return moments
}

// waitUntilAfter returns when the clock is past at, so that the next transaction has a later time.
func waitUntilAfter(at time.Time) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !time.Now().After(at) {
		<-tick.C
	}
}

func TestBalanceAtIsTheBalanceOfThatTime(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		moments := recordMoments(t, l)
		for i, m := range moments {
			for _, at := range []time.Time{m.at, m.at.Add(time.Millisecond)} {
				got, err := l.BalanceAt(t.Context(), "user:u1", at)
				checkError(t, fmt.Sprint("moment ", i), err, nil)
				checkEqual(t, fmt.Sprint("moment ", i), got, m.want)
			}
		}

		got, err := l.BalanceAt(t.Context(), "user:u1", moments[0].at.Add(-time.Millisecond))
		checkError(t, "before the first transaction", err, nil)
		checkEqual(t, "seq before the first transaction", got.Seq, 0)
		checkEqual(t, "available before the first transaction", got.Available, 0)

		_, err = l.BalanceAt(t.Context(), "user:u2", time.Now())
		checkError(t, "unknown account", err, wallet.ErrAccountNotFound)
	})
}

func TestExportIsBoundedByTime(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		moments := recordMoments(t, l)
		all := exportEntries(t, l, wallet.EntryFilter{})
		checkEqual(t, "entries", len(all), 1+12*4)
		for name, span := range map[string][2]int{
			"beginning": {0, 3},
			"one":       {3, 4},
			"none":      {5, 5},
			"end":       {7, len(moments) - 1},
		} {
			t.Run(name, func(t *testing.T) {
				from := moments[span[0]].at
				to := moments[span[1]].at
				var want []wallet.Entry
				for _, e := range all {
					if !e.CreatedAt.Before(from) && e.CreatedAt.Before(to) {
						want = append(want, e)
					}
				}
				got := exportEntries(t, l, wallet.EntryFilter{From: from, To: to})
				checkEqual(t, "entries", len(got), len(want))
				checkEqual(t, "entries", fmt.Sprint(got), fmt.Sprint(want))
			})
		}
	})
}

func exportEntries(t *testing.T, l *wallet.Ledger, filter wallet.EntryFilter) []wallet.Entry {
	t.Helper()
	var list []wallet.Entry
	err := l.Export(t.Context(), "user:u1", filter, func(e *wallet.Entry) error {
		list = append(list, *e)
		return nil
	})
	if err != nil {
		t.Fatalf("export entries: %v", err)
	}
	return list
}
