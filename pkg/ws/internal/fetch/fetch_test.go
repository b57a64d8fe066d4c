package fetch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A slowHistory has one account. It takes a second to send an answer that it has read.
type slowHistory struct {
	History

	last  int64
	calls int
}

func (h *slowHistory) Events(
	_ context.Context, _ string, after int64, _ int,
) (events []bus.Delivery, last int64, err error) {
	h.calls++
	last = h.last
	for seq := after + 1; seq <= last; seq++ {
		events = append(events, bus.Delivery{Account: "user:u1", Seq: seq})
	}
	<-time.After(time.Second)
	return events, last, nil
}

// Callers share a call of the history, but not one that began before the newest event that a caller
// knows. Its answer may lack that event, which looks as if the ledger had gone back.
func TestFetchEventsSharesCalls(t *testing.T) {
	for name, test := range map[string]struct {
		newest int64 // that the second caller knows
		calls  int
	}{
		"both know the same":        {newest: 8, calls: 1},
		"the second one knows more": {newest: 9, calls: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHistory{last: 8}
				f := New(nil, h, Limits{Timeout: time.Minute, Calls: 2, MaxEvents: 100})
				fetchLast := func(newest int64) int64 {
					key := PageKey{Account: "user:u1", After: 5, Limit: 10, Newest: newest}
					page, err := f.FetchEvents(t.Context(), key)
					if err != nil {
						t.Error(err)
					}
					return page.Last
				}
				go fetchLast(8)
				synctest.Wait()
				h.last = test.newest
				got := fetchLast(test.newest)
				if got != test.newest {
					t.Errorf("newest event: got %d, want %d", got, test.newest)
				}
				synctest.Wait()
				if h.calls != test.calls {
					t.Errorf("calls of the history: got %d, want %d", h.calls, test.calls)
				}
			})
		})
	}
}
