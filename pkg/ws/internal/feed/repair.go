package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The delay between two attempts to repair a gap doubles from the minimum to the maximum.
const (
	minRepairDelay = 50 * time.Millisecond
	maxRepairDelay = 2 * time.Second
)

// repairFeeds starts the repair of feeds that met a gap. The feeds are catching up.
func (x *Index) repairFeeds(gaps []*Feed) {
	for _, f := range gaps {
		x.cfg.Metrics.Gaps.Inc()
		f.sub.Client.startRepair(f)
	}
}

// startRepair repairs the feed in a goroutine. A client has at most one such goroutine.
func (c *Client) startRepair(f *Feed) {
	c.mu.Lock()
	c.gaps = append(c.gaps, f)
	isRunning := c.repairing
	c.repairing = true
	c.mu.Unlock()
	if isRunning {
		return
	}

	started := c.index.cfg.Go(func() { c.repairGaps(c.index.cfg.Context) })
	if !started {
		c.mu.Lock()
		c.repairing = false
		c.mu.Unlock()
	}
}

func (c *Client) repairGaps(ctx context.Context) {
	for {
		f := c.nextGap()
		if f == nil {
			return
		}

		c.repairGap(ctx, f)
	}
}

// nextGap removes and returns the next feed with a gap. It returns nil when there is none, and the
// calling goroutine must then end.
func (c *Client) nextGap() *Feed {
	c.mu.Lock()
	defer c.mu.Unlock()

	if len(c.gaps) == 0 {
		c.gaps = nil
		c.repairing = false
		return nil
	}

	f := c.gaps[0]
	c.gaps = c.gaps[1:]

	return f
}

// repairGap catches up a feed that met a gap. It retries while neither history nor state is
// available. After Config.RetryFor it closes the connection, so that the client does not assume
// that it is up to date.
func (c *Client) repairGap(ctx context.Context, f *Feed) {
	deadline := time.Now().Add(c.index.cfg.RetryFor)
	delay := minRepairDelay
	for {
		err := c.catchUp(ctx, f, eventPage{}, c.Transport.WakeWriter)
		if err == nil {
			c.index.cfg.Metrics.Repaired.Inc()
			return
		}
		if time.Now().After(deadline) {
			c.index.cfg.Logger.Error("repairing a gap failed; closing the connection",
				"connection", c.ID,
				"error", fmt.Errorf("catch up: %w", err),
			)
			c.Transport.CloseWith(protocol.CloseInternal, "repairing a gap failed")
			return
		}

		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-c.ended:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}

		delay = min(2*delay, maxRepairDelay)
	}
}
