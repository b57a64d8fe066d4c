// Package feed fills the streams as the core does, through the publisher of
// pkg/bus, without a ledger behind it.
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

// Marker stands in each event before the time at which it was published, in
// nanoseconds since 1970. Those of one feed differ and rise.
var Marker = []byte(`"correlationId":"`)

// StampDigits is how many digits a stamp has, until the year 2286.
const StampDigits = 19

// Feed publishes events of a number of accounts.
type Feed struct {
	publisher *publish.Publisher
	accounts  []string
	seqs      []int64
	stamp     int64
	place     int // in accounts, of Drive
	pubs      []publish.Publication
}

// New makes a feed on a namespace that nobody has published to.
func New(rdb redis.UniversalClient, namespace string, accounts int) *Feed {
	f := &Feed{
		publisher: publish.New(rdb, publish.Config{Keys: bus.Keys{Namespace: namespace}}),
		accounts:  make([]string, accounts), seqs: make([]int64, accounts),
	}
	for i := range f.accounts {
		f.accounts[i] = fmt.Sprintf("user:u%d", i)
	}
	return f
}

// Accounts are the names of all accounts.
func (f *Feed) Accounts() []string { return f.accounts }

// Publish publishes one event each of n accounts, in turn from account first on,
// in one call.
func (f *Feed) Publish(ctx context.Context, first, n int) error {
	f.pubs = f.pubs[:0]
	now := time.Now()
	f.stamp = max(f.stamp, now.UnixNano())
	for i := range n {
		f.pubs = append(f.pubs, publish.Publication{Update: f.event((first+i)%len(f.accounts), now)})
	}
	outcomes, err := f.publisher.Publish(ctx, f.pubs)
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		if o.Status != bus.Published {
			return fmt.Errorf("event %d of %s was not published: status %d, Redis had %d",
				f.pubs[i].Update.First(), f.pubs[i].Update.Account, o.Status, o.Last)
		}
	}
	return nil
}

// Seed gives each account that many events.
func (f *Feed) Seed(ctx context.Context, each int) error {
	const batch = 1000
	for range each {
		for first := 0; first < len(f.accounts); first += batch {
			if err := f.Publish(ctx, first, min(batch, len(f.accounts)-first)); err != nil {
				return err
			}
		}
	}
	return nil
}

// event is the account's next one: a balance_updated of some 300 bytes.
func (f *Feed) event(n int, now time.Time) bus.AccountUpdate {
	f.seqs[n]++
	f.stamp++
	account, seq := f.accounts[n], f.seqs[n]
	id := strconv.FormatInt(f.stamp, 10)
	b := make([]byte, 0, 320)
	b = append(b, `{"eventId":"`...)
	b = append(b, id...)
	b = append(b, `","eventType":"wallet.balance_updated","timestamp":"`...)
	b = now.UTC().AppendFormat(b, bus.TimeFormat)
	b = append(b, `","reason":"promotional_award","source":"wallet-core","version":"1.0",`...)
	b = append(b, Marker...)
	b = append(b, id...)
	b = append(b, `","accountId":"`...)
	b = append(b, account...)
	b = append(b, `","balanceState":"available","balanceBefore":`...)
	b = strconv.AppendInt(b, seq-1, 10)
	b = append(b, `,"balanceAfter":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"changeAmount":1}`...)
	return bus.AccountUpdate{
		Key: "g" + id, Account: account,
		Deliveries: []bus.Delivery{{
			ID: id, Type: "wallet.balance_updated", Account: account, Seq: seq, Amount: 1, Reason: "promotional_award", Data: b,
		}},
		Balance: bus.Balance{Account: account, Available: seq, Seq: seq, UpdatedAt: now},
	}
}

// tick is how often Drive looks what is due. What is due together is published in
// one call, as a core publishes what it committed together.
const tick = 2 * time.Millisecond

// Drive publishes so many events per second, in turn on all accounts, whatever
// becomes of them. It returns how many it published.
func (f *Feed) Drive(ctx context.Context, perSecond int, d time.Duration) (int, error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	done := 0
	for begin := time.Now(); ; {
		elapsed := min(time.Since(begin), d)
		due := int(elapsed.Seconds() * float64(perSecond))
		if n := min(due-done, maxCall, len(f.accounts)); n > 0 {
			if err := f.Publish(ctx, f.place, n); err != nil {
				return done, err
			}
			f.place += n
			done += n
			continue
		}
		if elapsed == d {
			return done, nil
		}
		select {
		case <-ctx.Done():
			return done, ctx.Err()
		case <-ticker.C:
		}
	}
}

// maxCall is how many events one call publishes at most.
const maxCall = 500
