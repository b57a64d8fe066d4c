package bus

import (
	"context"
	"time"
)

// TypeHistoryChanged is the type of a marker: the events that were published for its account after
// its Seq never happened. The relay publishes it when the ledger itself went back in time, because a backup
// was restored or a failover of its database lost commits.
//
// A marker is an entry of the account's stream. Its Seq and Chain are those of the newest event that
// the two histories have in common (0 and 0: they have none, or the ledger does not have the account
// any more). The account's next event has the next seq. A reader that has the account at a higher
// seq, or at the same seq with another chain, must drop what it has. A reader that has a lower seq
// fetches the events up to the marker's seq from the ledger and compares the chain of the first one
// with its own: if the stream does not reach back to the common point, the relay assumes one.
//
// Its Data is a HistoryChanged. A marker has no key, no amount and no transaction.
const TypeHistoryChanged = "wallet.history_changed"

// HistoryChanged is the payload of a TypeHistoryChanged event.
type HistoryChanged struct {
	EventID     string    `json:"eventId"`
	EventType   string    `json:"eventType"`
	Timestamp   time.Time `json:"timestamp"` // when the relay noticed, to the millisecond
	AccountID   string    `json:"accountId"`
	AccountType string    `json:"accountType"` // "user" or "model"
	Seq         int64     `json:"seq"`
	Chain       Chain     `json:"chain"`
	Source      string    `json:"source"`  // "wallet-core"
	Version     string    `json:"version"` // "1.0"; a version 1.x may add fields
}

// OnHistoryChanged returns a handler that calls handle for each TypeHistoryChanged event. It is
// meant for a Subscription. Route combines several handlers.
func OnHistoryChanged(handle func(ctx context.Context, e HistoryChanged) error) Handler {
	return Typed(TypeHistoryChanged, handle)
}
