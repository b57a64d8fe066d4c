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

// passing is an event on its way to the terminal.
type passing struct {
	delivery bus.Delivery
	at       time.Time
}

// observe sees each batch before the clients do. It never waits for the
// terminal: what does not fit is counted.
func (d *demo) observe(b tail.Batch) {
	if b.Refill {
		return
	}
	now := time.Now()
	for _, del := range b.Deliveries {
		select {
		case d.passing <- passing{del, now}:
		default:
			d.skipped.Add(1)
		}
	}
}

// live shows what passes, and makes traffic, until ctx ends.
func (d *demo) live(ctx context.Context, out io.Writer) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.show(ctx, out) })
	if d.cfg.Traffic > 0 {
		g.Go(func() error { return d.traffic(ctx) })
	}
	return g.Wait()
}

// show writes a line for each event, and flushes whenever none waits.
func (d *demo) show(ctx context.Context, out io.Writer) error {
	w := bufio.NewWriter(out)
	for {
		select {
		case <-ctx.Done():
			return w.Flush()
		case p := <-d.passing:
			if n := d.skipped.Swap(0); n > 0 {
				_, _ = fmt.Fprintf(w, "… %d events more than this terminal takes\n", n) // Flush reports
			}
			_, _ = io.WriteString(w, line(p))
			if len(d.passing) > 0 {
				continue
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write to the terminal: %w", err)
			}
		}
	}
}

// line tells an event: when, whose, seq, what, how many points, how long after the
// commit it was here.
func line(p passing) string {
	var e struct {
		Timestamp    time.Time
		BalanceState string
		Before       int64 `json:"balanceBefore"`
		After        int64 `json:"balanceAfter"`
		RefundAmount int64
		SettleAmount int64
	}
	del := &p.delivery
	if err := json.Unmarshal(del.Data, &e); err != nil {
		return fmt.Sprintf("%s seq %d: unreadable event: %v\n", del.Account, del.Seq, err)
	}
	what := fmt.Sprintf("%d", del.Amount)
	switch {
	case e.BalanceState != "":
		what = fmt.Sprintf("%s %d → %d", e.BalanceState, e.Before, e.After)
	case e.RefundAmount > 0:
		what = fmt.Sprintf("%d back, %d earned", e.RefundAmount, e.SettleAmount)
	}
	return fmt.Sprintf("%s  %-14s seq %-5d %-23s %-26s %-22s %d ms\n", p.at.Format("15:04:05.000"), del.Account, del.Seq,
		strings.TrimPrefix(del.Type, "wallet."), what, del.Reason, max(0, p.at.Sub(e.Timestamp).Milliseconds()))
}
