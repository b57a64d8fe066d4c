package feed

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"
	"time"
)

func TestEventsAreNumberedAndStamped(t *testing.T) {
	f := New(nil, "test", 10_000)
	f.stamp = time.Now().UnixNano() // as Publish does
	last := f.stamp
	for i := range 3 {
		update := f.nextEvent(7, time.Now())
		d := &update.Deliveries[0]
		var e struct {
			EventID       string `json:"eventId"`
			CorrelationID string `json:"correlationId"`
			AccountID     string `json:"accountId"`
			BalanceAfter  int64  `json:"balanceAfter"`
		}
		if err := json.Unmarshal(d.Data, &e); err != nil {
			t.Fatalf("%v in %s", err, d.Data)
		}
		if e.EventID != d.ID {
			t.Errorf("got eventId %s, want %s", e.EventID, d.ID)
		}
		if e.AccountID != "u7" {
			t.Errorf("got accountId %s, want u7", e.AccountID)
		}
		if want := int64(i) + 1; e.BalanceAfter != want || d.Seq != want {
			t.Errorf("got balanceAfter %d and seq %d, want %d", e.BalanceAfter, d.Seq, want)
		}
		stamp, err := strconv.ParseInt(e.CorrelationID, 10, 64)
		if err != nil {
			t.Errorf("got stamp %q, want a number", e.CorrelationID)
		}
		if got := len(e.CorrelationID); got != StampDigits {
			t.Errorf("got a stamp of %d digits, want %d", got, StampDigits)
		}
		if stamp <= last {
			t.Errorf("got stamp %d after %d, want ascending stamps", stamp, last)
		}
		if got := bytes.Count(d.Data, Marker); got != 1 {
			t.Errorf("got %d markers, want 1", got)
		}
		last = stamp
		if n := len(d.Data); n < 290 || n > 330 {
			t.Errorf("got an event of %d bytes, want about 300", n)
		}
	}
}
