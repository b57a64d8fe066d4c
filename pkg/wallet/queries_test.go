package wallet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// TestRareReasons lists entries with a reason in pages that look through a few seq each: they have
// all that there are, each once, newest first, whatever the limit, and no page looks further.
func TestRareReasons(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		reason := func(i int) string {
			switch {
			case i == 0 || i == 20:
				return "rare"
			case i%7 == 0:
				return "sometimes"
			}
			return "usual"
		}
		ops := make([]Op, 40)
		for i := range ops {
			ops[i] = creditOf("user:u", 1, fmt.Sprint(i))
			ops[i].Reason = reason(i)
		}
		for _, r := range l.DoBatch(t.Context(), ops) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		for _, wanted := range []string{"rare", "sometimes", "usual", "never"} {
			var all []int64
			if err := l.Export(t.Context(), "user:u", EntryFilter{Reason: wanted}, func(e *Entry) error {
				all = append(all, e.Seq)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			slices.Reverse(all)
			for _, l.maxEntryScan = range []int64{1, 2, 5, 79, 80, 81} {
				for _, limit := range []int{1, 3, 1000} {
					var got []int64
					pages := 0
					for p := (Page{Limit: limit}); ; pages++ {
						entries, next, err := l.Entries(t.Context(), "user:u", EntryFilter{Reason: wanted}, p)
						if err != nil || int64(len(entries)) > l.maxEntryScan || pages > 100 {
							t.Fatalf("%s, page %d of at most %d: %d entries, %v", wanted, pages, l.maxEntryScan, len(entries), err)
						}
						for i := range entries {
							got = append(got, entries[i].Seq)
						}
						if p.Before = next; next == "" {
							break
						}
					}
					if !slices.Equal(got, all) {
						t.Errorf("%s, looking through %d, %d a page: %v, want %v", wanted, l.maxEntryScan, limit, got, all)
					}
				}
			}
		}
	})
}

// TestRareStatuses lists escrows with a status in pages that look through a few escrows each: they
// have all that there are, each once, newest first, whatever the limit, and no page looks further.
func TestRareStatuses(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		const n = 20
		ops := []Op{creditOf("user:u", n*10, "c"), creditOf("user:other", 10, "o")}
		for i := range n {
			ops = append(ops, Op{Operation: OpHold, Account: "user:u", Amount: 10, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: fmt.Sprint(i)})
		}
		other := ops[2]
		other.Account, other.IdempotencyKey = "user:other", "other"
		rs := commitBatch(t, l, append(ops, other)...)
		ops = nil
		for i, r := range rs[2 : 2+n] {
			op := Op{Operation: OpRefund, EscrowID: r.receipt.EscrowID, Amount: 10, Reason: "r", QueueItemID: "q", IdempotencyKey: fmt.Sprint(i)}
			switch {
			case i == 0 || i == n/2:
				continue // held
			case i%7 == 0:
				op.Operation, op.Model = OpSettle, "model:m"
			}
			ops = append(ops, op)
		}
		for _, r := range append(rs, commitBatch(t, l, ops...)...) {
			if r.err != nil {
				t.Fatal(r.err)
			}
		}
		list := func(status EscrowStatus, limit int) (ids []uuid.UUID) {
			t.Helper()
			pages := 0
			for p := (Page{Limit: limit}); ; pages++ {
				escrows, next, err := l.Escrows(t.Context(), "user:u", status, p)
				if err != nil || status != "" && len(escrows) > l.maxEscrowScan || pages > n {
					t.Fatalf("%s, page %d of at most %d: %d escrows, %v", status, pages, l.maxEscrowScan, len(escrows), err)
				}
				for i := range escrows {
					if e := &escrows[i]; e.User != "user:u" || status != "" && e.Status != status {
						t.Errorf("%+v is listed as %s", e, status)
					}
					ids = append(ids, escrows[i].ID)
				}
				if p.Before = next; next == "" {
					return ids
				}
			}
		}
		counts := map[EscrowStatus]int{StatusHeld: 2, StatusSettled: 2, StatusRefunded: n - 4, StatusPartiallySettled: 0}
		all := list("", 3)
		if len(all) != n {
			t.Errorf("%d are listed, want %d", len(all), n)
		}
		for status, count := range counts {
			for _, l.maxEscrowScan = range []int{1, 3, n, n + 1} {
				for _, limit := range []int{1, 3, 1000} {
					got := list(status, limit)
					inOrder := slices.DeleteFunc(slices.Clone(all), func(id uuid.UUID) bool { return !slices.Contains(got, id) })
					if len(got) != count || !slices.Equal(got, inOrder) {
						t.Errorf("%s, looking through %d, %d a page: %v, want %d in the order of %v", status, l.maxEscrowScan, limit, got, count, all)
					}
				}
			}
		}
	})
}
