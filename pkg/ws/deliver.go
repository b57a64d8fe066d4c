package ws

import (
	"context"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Deliver delivers a batch of stream entries. The entries of an account must be in stream order,
// and only one goroutine at a time may deliver entries of the same account. The hub keeps the
// strings of a Delivery and copies its bytes: the caller can reuse the batch and its buffers when
// Deliver has returned.
//
// Deliver never waits for a client and does no I/O. It wakes the writers of the connections once,
// at the end of the batch.
//
// refill marks entries that are read again after a start, to fill the memory. They are not live:
// ["*"] subscriptions do not receive them, and their latency is not measured. Other subscriptions
// handle them by seq like any delivery.
//
// A delivery with the type bus.TypeHistoryChanged is a marker: the events of its account after its
// seq that were delivered before it never happened.
func (h *Hub) Deliver(batch []bus.Delivery, refill bool) {
	h.feeds.Deliver(batch, refill)
}

// Recheck compares every subscribed account with the ledger, or with its snapshot if fromLedger is
// false. It catches up the accounts that are behind, and repairs those whose history changed. Call
// it when the tail may have lost entries: with fromLedger after ForgetMemory, and without after a
// short interruption. Without it, such an account stays behind until its next event. Recheck
// continues after an error and returns the first one.
func (h *Hub) Recheck(ctx context.Context, fromLedger bool) error {
	return h.feeds.Recheck(ctx, fromLedger)
}

// ForgetMemory drops the memory of recent events, and makes every feed compare its history with the
// ledger before its next event. Call it when the streams may be others than before: when Redis was
// emptied, replaced or restored, and when entries were trimmed before they were read. Call Recheck
// afterwards.
func (h *Hub) ForgetMemory() {
	h.feeds.ForgetMemory()
}
