package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// A recheck waits for minRecheckDelay, so that the tail first reads the entries that still exist.
// While rechecks fail, the delay doubles up to maxRecheckDelay.
const (
	minRecheckDelay = time.Second
	maxRecheckDelay = 30 * time.Second
)

// runTail reads the streams once the layout of the keys in Redis has been checked.
func (g *Gateway) runTail(ctx context.Context) error {
	select {
	case <-g.layout.Known():
		return g.tail.Run(ctx, g.deliverBatch)
	case <-ctx.Done():
		return nil
	}
}

// deliverBatch updates the cache before the clients get the events, because a client that asks for
// the balance after an event must not get an older one. The hub rewinds the cache when it gets a
// marker, so the cache learns of the events after a marker only then.
func (g *Gateway) deliverBatch(b tail.Batch) {
	if g.cfg.Observe != nil {
		g.cfg.Observe(b)
	}

	rest := b.Deliveries
	for len(rest) > 0 {
		part := rest[:lengthToMarker(rest)]
		rest = rest[len(part):]
		for i := range part {
			g.cache.Seen(part[i].Account, part[i].Seq)
		}
		g.hub.Deliver(part, b.Refill)
	}
}

// lengthToMarker returns the number of deliveries up to the first marker, including it.
func lengthToMarker(list []bus.Delivery) int {
	for i := range list {
		if list[i].Type == bus.TypeHistoryChanged {
			return i + 1
		}
	}
	return len(list)
}

// handleLostEntries is called before the tail continues after an interruption. The balances in the
// cache may be older than the lost entries. If the streams may be others than before, so may be the
// history in them, and no client gets an event until the ledger has confirmed its history.
func (g *Gateway) handleLostEntries(other bool) {
	g.cache.Forget()
	if other {
		g.hub.ForgetMemory()
		g.otherStreams.Store(true)
	}

	g.losses.Add(1)
	g.requestRecheck()
}

// checkHistory reports whether the clients' accounts have been compared after entries may have been
// lost.
func (g *Gateway) checkHistory(context.Context) error {
	if g.compared.Load() < g.losses.Load() {
		return errors.New("the clients' accounts are being compared after stream entries may have been lost")
	}
	return nil
}

// requestRecheck makes runRecheck compare the clients' accounts with the ledger soon.
func (g *Gateway) requestRecheck() {
	select {
	case g.recheck <- struct{}{}:
	default: // a recheck is requested already
	}
}

// runRecheck brings clients up to date whose events were lost while Redis was unavailable. Without
// it they would stay behind until the next event of their account.
func (g *Gateway) runRecheck(ctx context.Context) error {
	delay := minRecheckDelay
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.recheck:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}

		g.cache.Forget()
		losses := g.losses.Load()
		other := g.otherStreams.Swap(false)
		err := g.hub.Recheck(ctx, other)
		if err == nil || ctx.Err() != nil {
			g.compared.Store(losses)
			delay = minRecheckDelay
			continue
		}
		if other {
			g.otherStreams.Store(true)
		}
		delay = min(2*delay, maxRecheckDelay)
		g.cfg.Logger.Warn("rechecking accounts after an outage of Redis failed; retrying", "delay", delay, "error", err)
		g.requestRecheck()
	}
}
