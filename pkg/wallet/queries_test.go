package wallet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// TestEntryPagesWithARareReason lists entries with a reason in pages that read few entries each.
// All pages together hold each matching entry once, newest first. No page reads more than its
// limit.
func TestEntryPagesWithARareReason(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		ops := make([]Op, 40)
		for i := range ops {
			ops[i] = newCredit("user:u", 1, fmt.Sprint(i))
			ops[i].Reason = reasonOfCredit(i)
		}
		mustDoBatch(t, l, ops)
		for _, reason := range []string{"rare", "sometimes", "usual", "never"} {
			want := exportSeqs(t, l, reason)
			for _, scan := range []int64{1, 2, 5, 79, 80, 81} {
				for _, limit := range []int{1, 3, 1000} {
					t.Run(fmt.Sprintf("%s/scan=%d/limit=%d", reason, scan, limit), func(t *testing.T) {
						l.maxEntryScan = scan
						if got := pageThroughReason(t, l, reason, limit); !slices.Equal(got, want) {
							t.Errorf("seqs: got %v, want %v", got, want)
						}
					})
				}
			}
		}
	})
}

func reasonOfCredit(i int) string {
	switch {
	case i == 0 || i == 20:
		return "rare"
	case i%7 == 0:
		return "sometimes"
	default:
		return "usual"
	}
}

// exportSeqs returns the seqs of all entries with the reason, newest first.
func exportSeqs(t *testing.T, l *Ledger, reason string) []int64 {
	t.Helper()
	var seqs []int64
	err := l.Export(t.Context(), "user:u", EntryFilter{Reason: reason}, func(e *Entry) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(seqs)
	return seqs
}

// pageThroughReason returns the seqs of all pages with the reason.
func pageThroughReason(t *testing.T, l *Ledger, reason string, limit int) []int64 {
	t.Helper()
	var seqs []int64
	page := Page{Limit: limit}
	for range 101 {
		entries, next, err := l.Entries(t.Context(), "user:u", EntryFilter{Reason: reason}, page)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(entries)) > l.maxEntryScan {
			t.Fatalf("entries of a page: got %d, want at most %d", len(entries), l.maxEntryScan)
		}
		for i := range entries {
			seqs = append(seqs, entries[i].Seq)
		}
		if next == "" {
			return seqs
		}
		page.Before = next
	}
	t.Fatal("pages: got more than 100")
	return nil
}

// escrowsInPages is how many escrows user:u has in the test of pages with a status.
const escrowsInPages = 20

// TestEscrowPagesWithARareStatus lists escrows with a status in pages that read few escrows each.
// All pages together hold each matching escrow once, newest first. No page reads more than its
// limit.
func TestEscrowPagesWithARareStatus(t *testing.T) {
	t.Parallel()
	counts := map[EscrowStatus]int{
		StatusHeld:             2,
		StatusSettled:          2,
		StatusRefunded:         escrowsInPages - 4,
		StatusPartiallySettled: 0,
	}
	forEachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		makeEscrowsOfEachStatus(t, l)
		all := pageThroughStatus(t, l, "", 3)
		checkEqual(t, "escrows", len(all), escrowsInPages)
		for status, count := range counts {
			for _, scan := range []int{1, 3, escrowsInPages, escrowsInPages + 1} {
				for _, limit := range []int{1, 3, 1000} {
					t.Run(fmt.Sprintf("%s/scan=%d/limit=%d", status, scan, limit), func(t *testing.T) {
						l.maxEscrowScan = scan
						got := pageThroughStatus(t, l, status, limit)
						checkEqual(t, "escrows", len(got), count)
						inOrder := slices.DeleteFunc(slices.Clone(all), func(id uuid.UUID) bool { return !slices.Contains(got, id) })
						if !slices.Equal(got, inOrder) {
							t.Errorf("order of escrows: got %v, want %v", got, inOrder)
						}
					})
				}
			}
		}
	})
}

// makeEscrowsOfEachStatus makes escrows of user:u, most of which are refunded, and one of another
// user.
func makeEscrowsOfEachStatus(t *testing.T, l *Ledger) {
	t.Helper()
	mustCommit(t, l, newCredit("user:u", escrowsInPages*10, "c"), newCredit("user:other", 10, "o"))
	var holds []Op
	for i := range escrowsInPages {
		holds = append(holds, newHold("user:u", 10, fmt.Sprint(i)))
	}
	holds = append(holds, newHold("user:other", 10, "other"))
	receipts := mustCommit(t, l, holds...)

	var closes []Op
	for i, r := range receipts[:escrowsInPages] {
		switch {
		case i == 0 || i == escrowsInPages/2:
			// It stays held.
		case i%7 == 0:
			closes = append(closes, newSettle(r.EscrowID, "model:m", 10, fmt.Sprint(i)))
		default:
			closes = append(closes, newRefund(r.EscrowID, 10, fmt.Sprint(i)))
		}
	}
	mustCommit(t, l, closes...)
}

// pageThroughStatus returns the ids of all pages with the status. An empty status lists all
// escrows.
func pageThroughStatus(t *testing.T, l *Ledger, status EscrowStatus, limit int) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	page := Page{Limit: limit}
	for range escrowsInPages + 1 {
		escrows, next, err := l.Escrows(t.Context(), "user:u", status, page)
		if err != nil {
			t.Fatal(err)
		}
		if status != "" && len(escrows) > l.maxEscrowScan {
			t.Fatalf("escrows of a page: got %d, want at most %d", len(escrows), l.maxEscrowScan)
		}
		for i := range escrows {
			e := &escrows[i]
			checkEqual(t, "user of a listed escrow", e.User, "user:u")
			if status != "" {
				checkEqual(t, "status of a listed escrow", e.Status, status)
			}
			ids = append(ids, e.ID)
		}
		if next == "" {
			return ids
		}
		page.Before = next
	}
	t.Fatalf("pages: got more than %d", escrowsInPages+1)
	return nil
}
