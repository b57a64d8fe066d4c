package wallet

import (
	"fmt"
	"slices"
	"testing"
)

// TestRareReasons lists entries with a reason in pages that look through a few seq each: they have all that there are, each
// once, newest first, whatever the limit, and no page looks further.
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
			for _, l.walk = range []int64{1, 2, 5, 79, 80, 81} {
				for _, limit := range []int{1, 3, 1000} {
					var got []int64
					pages := 0
					for p := (Page{Limit: limit}); ; pages++ {
						entries, next, err := l.Entries(t.Context(), "user:u", EntryFilter{Reason: wanted}, p)
						if err != nil || int64(len(entries)) > l.walk || pages > 100 {
							t.Fatalf("%s, page %d of at most %d: %d entries, %v", wanted, pages, l.walk, len(entries), err)
						}
						for i := range entries {
							got = append(got, entries[i].Seq)
						}
						if p.Before = next; next == "" {
							break
						}
					}
					if !slices.Equal(got, all) {
						t.Errorf("%s, looking through %d, %d a page: %v, want %v", wanted, l.walk, limit, got, all)
					}
				}
			}
		}
	})
}
