package client

import (
	"testing"
	"testing/quick"
	"time"
)

// limitsAfter returns the limits of the pauses when each pause is as long as its limit.
func limitsAfter(p *pauses, now time.Time, n int) []time.Duration {
	var limits []time.Duration
	for range n {
		limit := p.nextLimit(now)
		now = now.Add(limit)
		limits = append(limits, limit)
	}
	return limits
}

func TestLimitsOfPausesDouble(t *testing.T) {
	const half = 500 * time.Millisecond
	want := []time.Duration{half, half, 2 * half, 4 * half, 8 * half, 16 * half, 32 * half, 40 * half, 40 * half}
	var p pauses
	now := time.Unix(0, 0)
	for i, limit := range limitsAfter(&p, now, len(want)) {
		if limit != want[i] {
			t.Errorf("limit %d is %v, want %v", i, limit, want[i])
		}
	}

	p.reset()
	limit := p.nextLimit(now.Add(time.Hour))
	if limit != half {
		t.Errorf("the limit after a reset is %v, want %v", limit, half)
	}
}

// TestClientIsNotAwayForMuchLongerThanTheGateway checks the pause that is running when the gateway
// comes back. It is at most as long as the gateway was away.
func TestClientIsNotAwayForMuchLongerThanTheGateway(t *testing.T) {
	check := func(random uint16) bool {
		outage := time.Duration(random) * time.Millisecond
		var p pauses
		begin := time.Unix(0, 0)
		now := begin
		for now.Sub(begin) <= outage {
			now = now.Add(p.next(now))
		}
		late := now.Sub(begin) - outage
		return late <= max(outage, minReconnectPause)
	}
	err := quick.Check(check, &quick.Config{MaxCount: 10_000})
	if err != nil {
		t.Error(err)
	}
}
