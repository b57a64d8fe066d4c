// Package feed publishes events to the streams as the core does, with the publisher of pkg/bus but
// without a ledger.
package feed

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// Marker is the text before the stamp of an event. The stamp is the time at which the event was
// published, in nanoseconds since 1970. The stamps of one feed are unique and ascending.
var Marker = []byte(`"correlationId":"`)

// StampDigits is the number of digits of a stamp, until the year 2286.
const StampDigits = 19

// Feed publishes events of a number of accounts.
type Feed struct {
	publisher *publish.Publisher
	accounts  []string
	seqs      []int64
	stamp     int64
	next      int // index of the next account, for Drive
	pubs      []publish.Publication
}

// New returns a feed for a new namespace.
func New(rdb redis.UniversalClient, namespace string, accounts int) *Feed {
	f := &Feed{
		publisher: publish.New(rdb, publish.Config{Keys: bus.Keys{Namespace: namespace}}),
		accounts:  make([]string, accounts),
		seqs:      make([]int64, accounts),
	}
	for i := range f.accounts {
		f.accounts[i] = fmt.Sprintf("user:u%d", i)
	}

	return f
}

// Accounts returns the names of all accounts.
func (f *Feed) Accounts() []string { return f.accounts }

// Publish publishes one event for each of n accounts, beginning with account number first, in one
// call.
func (f *Feed) Publish(ctx context.Context, first, n int) error {
	f.pubs = f.pubs[:0]
	now := time.Now()
	f.stamp = max(f.stamp, now.UnixNano())
	for i := range n {
		f.pubs = append(f.pubs, publish.Publication{Update: f.nextEvent((first+i)%len(f.accounts), now)})
	}

	outcomes, err := f.publisher.Publish(ctx, f.pubs)
	if err != nil {
		return err
	}

	for i, o := range outcomes {
		if o.Status != bus.Published {
			u := &f.pubs[i].Update
			return fmt.Errorf("event %d of %s must be published, but has status %d; Redis has events up to %d",
				u.First(), u.Account, o.Status, o.Last)
		}
	}

	return nil
}

// Seed publishes a number of events for each account.
func (f *Feed) Seed(ctx context.Context, eventsEach int) error {
	const batch = 1000
	for range eventsEach {
		for first := 0; first < len(f.accounts); first += batch {
			err := f.Publish(ctx, first, min(batch, len(f.accounts)-first))
			if err != nil {
				return err
			}
		}
	}

	return nil
}

// nextEvent returns the next event of account number n: a balance_updated of about 300 bytes.
func (f *Feed) nextEvent(n int, now time.Time) bus.AccountUpdate {
	f.seqs[n]++
	f.stamp++
	account := f.accounts[n]
	seq := f.seqs[n]
	id := strconv.FormatInt(f.stamp, 10)

	b := make([]byte, 0, 320)
	b = append(b, `{"eventId":"`...)
	b = append(b, id...)
	b = append(b, `","eventType":"wallet.balance_updated","timestamp":"`...)
	b = now.UTC().AppendFormat(b, bus.TimeFormat)
	b = append(b, `","reason":"promotional_award","source":"wallet-core","version":"1.0",`...)
	b = append(b, Marker...)
	b = append(b, id...)
	b = append(b, `","accountId":"u`...) // the bare id
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `","balanceState":"available","balanceBefore":`...)
	b = strconv.AppendInt(b, seq-1, 10)
	b = append(b, `,"balanceAfter":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"changeAmount":1}`...)

	return bus.AccountUpdate{
		Key:     "g" + id,
		Account: account,
		Deliveries: []bus.Delivery{{
			ID:      id,
			Type:    "wallet.balance_updated",
			Account: account,
			Seq:     seq,
			Amount:  1,
			Reason:  "promotional_award",
			Data:    b,
		}},
		Balance: bus.Balance{
			Account:   account,
			Available: seq,
			Seq:       seq,
			UpdatedAt: now,
		},
	}
}

// driveInterval is the pause between two calls of Publish in Drive. One call publishes all events
// that are due, as a core publishes the events of one batch together.
const driveInterval = 2 * time.Millisecond

// Drive publishes events at a fixed rate for the time d, on all accounts in turn. It does not wait
// for the clients. It returns the number of published events.
func (f *Feed) Drive(ctx context.Context, perSecond int, d time.Duration) (int, error) {
	ticker := time.NewTicker(driveInterval)
	defer ticker.Stop()
	published := 0
	for begin := time.Now(); ; {
		elapsed := min(time.Since(begin), d)
		due := int(elapsed.Seconds() * float64(perSecond))
		n := min(due-published, maxCall, len(f.accounts))
		if n > 0 {
			err := f.Publish(ctx, f.next, n)
			if err != nil {
				return published, err
			}

			f.next += n
			published += n
			continue
		}

		if elapsed == d {
			return published, nil
		}

		select {
		case <-ctx.Done():
			return published, ctx.Err()
		case <-ticker.C:
		}
	}
}

// maxCall is the largest number of events in one call of Publish.
const maxCall = 500
