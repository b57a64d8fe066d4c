package feed

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	f := New(nil, "test", 10_000)
	f.stamp = time.Now().UnixNano() // as Publish does
	last := f.stamp
	for i := range 3 {
		g := f.event(7, time.Now())
		d := &g.Deliveries[0]
		var e struct {
			EventID       string `json:"eventId"`
			CorrelationID string `json:"correlationId"`
			AccountID     string `json:"accountId"`
			BalanceAfter  int64  `json:"balanceAfter"`
		}
		if err := json.Unmarshal(d.Data, &e); err != nil {
			t.Fatalf("%v in %s", err, d.Data)
		}
		if e.EventID != d.ID || e.AccountID != "user:u7" || e.BalanceAfter != int64(i)+1 || d.Seq != int64(i)+1 {
			t.Errorf("got %+v, seq %d", e, d.Seq)
		}
		stamp, err := strconv.ParseInt(e.CorrelationID, 10, 64)
		if err != nil || len(e.CorrelationID) != StampDigits || stamp <= last || bytes.Count(d.Data, Marker) != 1 {
			t.Errorf("stamp %s after %d: %v", e.CorrelationID, last, err)
		}
		last = stamp
		if n := len(d.Data); n < 290 || n > 330 {
			t.Errorf("an event has %d bytes", n)
		}
	}
}
