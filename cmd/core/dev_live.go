package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// receivedEvent is an event that waits for the terminal.
type receivedEvent struct {
	delivery bus.Delivery
	at       time.Time
}

// observeBatch queues the events of a batch for the terminal. It never blocks: events that do not
// fit are counted.
func (d *demo) observeBatch(b tail.Batch) {
	if b.Refill {
		return
	}
	now := time.Now()
	for _, delivery := range b.Deliveries {
		select {
		case d.printQueue <- receivedEvent{delivery: delivery, at: now}:
		default:
			d.skipped.Add(1)
		}
	}
}

// runLive prints events and makes operations until ctx ends.
func (d *demo) runLive(ctx context.Context, out io.Writer) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.printEvents(ctx, out) })
	if d.cfg.Traffic > 0 {
		g.Go(func() error { return d.runTraffic(ctx) })
	}
	return g.Wait()
}

// printEvents writes a line for each event. It flushes whenever the queue is empty.
func (d *demo) printEvents(ctx context.Context, out io.Writer) error {
	w := bufio.NewWriter(out) // Flush returns the error of any write
	for {
		select {
		case <-ctx.Done():
			return w.Flush()
		case e := <-d.printQueue:
			skipped := d.skipped.Swap(0)
			if skipped > 0 {
				_, _ = fmt.Fprintf(w, "… %d events skipped, since the terminal is too slow\n", skipped)
			}
			_, _ = io.WriteString(w, formatEvent(e, d.startedAt))
			if len(d.printQueue) > 0 {
				continue
			}
			err := w.Flush()
			if err != nil {
				return fmt.Errorf("write to the terminal: %w", err)
			}
		}
	}
}

// formatEvent returns a line with the time, account, seq, type, points and reason of an event, and
// the time from its commit to its arrival here. It returns "" for an event from before the start.
func formatEvent(received receivedEvent, start time.Time) string {
	var data struct {
		Timestamp    time.Time
		BalanceState string
		Before       int64 `json:"balanceBefore"`
		After        int64 `json:"balanceAfter"`
		RefundAmount int64
		SettleAmount int64
	}
	e := &received.delivery
	err := json.Unmarshal(e.Data, &data)
	if err != nil {
		return fmt.Sprintf("%s seq %d: decoding the event failed: %v\n", e.Account, e.Seq, err)
	}
	if data.Timestamp.Before(start.Truncate(time.Millisecond)) {
		return ""
	}
	points := fmt.Sprintf("%d", e.Amount)
	switch {
	case data.BalanceState != "":
		points = fmt.Sprintf("%s %d → %d", data.BalanceState, data.Before, data.After)
	case data.RefundAmount > 0:
		points = fmt.Sprintf("%d back, %d earned", data.RefundAmount, data.SettleAmount)
	}
	clock := received.at.Format("15:04:05.000")
	eventType := strings.TrimPrefix(e.Type, "wallet.")
	delay := max(0, received.at.Sub(data.Timestamp).Milliseconds())
	return fmt.Sprintf("%s  %-14s seq %-5d %-23s %-26s %-22s %d ms\n", clock, e.Account, e.Seq, eventType, points, e.Reason, delay)
}
