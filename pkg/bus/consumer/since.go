package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// A subscription with Since gets the history first. One process of the group copies it into the
// group's replay streams, from which all processes read (package backfill). No process reads the
// live events until the group has finished the copies. Then each process leaves out the live events
// that were copied, for this subscription only.
//
// The groups of the event streams are created before the history is read. So the live events begin
// before the history ends, and there is no hole.

// sinceState is the state of the subscriptions with Since.
type sinceState struct {
	mu            sync.Mutex // protects subscriptions
	subscriptions []bus.Subscription

	done  chan struct{}             // closed when the group has the history of all of them
	seams map[string]*backfill.Seam // by subscription; set before done is closed

	marks []relayedMark // for each partition, only used by housekeeping
}

// relayedMark says that all transactions before a time, in ms, were published up to an entry.
type relayedMark struct {
	relayed int64
	last    streamentry.ID
}

func (b *Bus) addSince(s bus.Subscription) error {
	if b.cfg.History == nil {
		return fmt.Errorf("subscribe %s: Config.History must be set, since Since is set", s.ID)
	}

	b.since.mu.Lock()
	defer b.since.mu.Unlock()
	if b.ran.Load() {
		return fmt.Errorf("subscribe %s: a subscription with Since must be added before Run", s.ID)
	}

	b.since.subscriptions = append(b.since.subscriptions, s)
	return nil
}

// listSince returns the subscriptions with Since.
func (b *Bus) listSince() []bus.Subscription {
	b.since.mu.Lock()
	defer b.since.mu.Unlock()
	return slices.Clone(b.since.subscriptions)
}

// waitForBackfills waits until the group has the history. It returns false if ctx ends first.
func (b *Bus) waitForBackfills(ctx context.Context) bool {
	select {
	case <-b.since.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// coveredBy returns the subscriptions that got the event of an entry with the history.
func (s *sinceState) coveredBy(id streamentry.ID, partition int, e *bus.Event) []string {
	var names []string
	for name, seam := range s.seams {
		if seam.Covers(id, partition, e) {
			names = append(names, name)
		}
	}

	return names
}

// runBackfills copies the history of all subscriptions with Since, or waits until another process has
// done it. It retries after errors until ctx ends.
func (b *Bus) runBackfills(ctx context.Context) error {
	subscriptions := b.listSince()
	b.since.seams = make(map[string]*backfill.Seam, len(subscriptions))
	for _, s := range subscriptions {
		retry := backoff.ExponentialBackOff{
			InitialInterval:     50 * time.Millisecond,
			Multiplier:          2,
			RandomizationFactor: 0.5,
			MaxInterval:         5 * time.Second,
		}
		for {
			seam, err := b.runBackfill(ctx, s)
			if err == nil {
				b.since.seams[s.ID] = seam
				break
			}

			if ctx.Err() != nil {
				return nil //nolint:nilerr // ctx ended
			}

			if errors.Is(err, backfill.ErrLocked) {
				wait.Sleep(ctx, replayPause) // another process is at work
				continue
			}

			b.metrics.errors.Inc()
			b.cfg.Logger.Warn("reading the history failed; retrying", "group", b.cfg.Group, "subscription", s.ID, "error", err)
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}

	close(b.since.done)
	return nil
}

// runBackfill copies the history of a subscription unless the group has it.
func (b *Bus) runBackfill(ctx context.Context, s bus.Subscription) (*backfill.Seam, error) {
	err := b.createAllGroups(ctx)
	if err != nil {
		return nil, err
	}

	types := s.Types
	if len(types) == 0 {
		types = bus.EventTypesOf(s.Handler)
	}

	copier, err := backfill.New(b.rdb, backfill.Config{
		Keys:         b.cfg.Keys,
		Group:        b.cfg.Group,
		Name:         s.ID,
		Subscription: s.ID,
		History:      b.cfg.History,
		From:         s.Since,
		Types:        types,
		Copies:       b.cfg.Copies,
		Logger:       b.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}

	job, found, err := copier.ReadJob(ctx)
	if err != nil {
		return nil, err
	}

	if found && job.Phase == backfill.PhaseDone {
		from, isHole, err := b.findHole(ctx, copier)
		if err != nil {
			return nil, err
		}

		if isHole {
			b.cfg.Logger.Warn("the streams were trimmed while the group was away; reading the history of that time",
				"group", b.cfg.Group, "subscription", s.ID, "from", from)
			if from.Before(s.Since) {
				from = s.Since
			}

			err := copier.Restart(ctx, from)
			if err != nil {
				return nil, err
			}
		}
	}

	err = copier.Run(ctx)
	if err != nil {
		return nil, err
	}

	return copier.ReadSeam(ctx)
}

// createAllGroups creates the groups of all streams, so that no live event is lost that comes after
// the history.
func (b *Bus) createAllGroups(ctx context.Context) error {
	for _, r := range b.newReaders() {
		err := r.createGroups(ctx)
		if err != nil {
			return err
		}
	}

	return nil
}

const relayedField = "relayed"

// noteRelayed stores for each partition a time before which the group has received all transactions.
// If the streams are trimmed while the group is away, the history is read from this time on.
func (b *Bus) noteRelayed(ctx context.Context) error {
	isReading := false
	select {
	case <-b.since.done:
		isReading = len(b.since.seams) > 0
	default:
	}

	if !isReading {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	half := len(b.streams) / 2
	pipe := b.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, half)
	relayed := make([]*redis.StringCmd, half)
	newest := make([]*redis.XMessageSliceCmd, half)
	for n, stream := range b.streams[:half] {
		groups[n] = pipe.XInfoGroups(ctx, stream.key)
		relayed[n] = pipe.Get(ctx, b.cfg.Keys.Relayed(stream.partition))
		newest[n] = pipe.XRevRangeN(ctx, stream.key, "+", "-", 1)
	}

	_, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}

	if b.since.marks == nil {
		b.since.marks = make([]relayedMark, half)
	}

	writes := b.rdb.Pipeline()
	for n, stream := range b.streams[:half] {
		mark := &b.since.marks[n]
		received, _ := streamentry.ParseID([]byte(b.findGroup(groups[n].Val()).LastDeliveredID))
		if mark.relayed > 0 && !received.Less(mark.last) {
			writes.HSet(ctx, b.cfg.Keys.Backfill(stream.partition, b.cfg.Group), relayedField, mark.relayed)
			mark.relayed = 0
		}

		if mark.relayed == 0 {
			mark.relayed, _ = relayed[n].Int64() // 0: there is none
			mark.last, err = redisconn.FirstID(newest[n].Val())
			if err != nil {
				return err
			}
		}
	}

	if writes.Len() == 0 {
		return nil
	}

	_, err = writes.Exec(ctx)
	return err
}

// findHole reports whether a stream was trimmed after the last entry that the group has received or
// that the history has. It returns a time before which the group has received all transactions, or
// the zero time.
func (b *Bus) findHole(ctx context.Context, copier *backfill.Copier) (from time.Time, isHole bool, err error) {
	seam, err := copier.ReadSeam(ctx)
	if err != nil {
		return time.Time{}, false, err
	}

	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	half := len(b.streams) / 2
	pipe := b.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, half)
	streams := make([]*redis.XInfoStreamCmd, half)
	oldest := make([]*redis.XMessageSliceCmd, half)
	relayed := make([]*redis.StringCmd, half)
	for n, stream := range b.streams[:half] {
		groups[n] = pipe.XInfoGroups(ctx, stream.key)
		streams[n] = pipe.XInfoStream(ctx, stream.key)
		oldest[n] = pipe.XRangeN(ctx, stream.key, "-", "+", 1)
		relayed[n] = pipe.HGet(ctx, b.cfg.Keys.Backfill(stream.partition, b.cfg.Group), relayedField)
	}

	_, err = pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return time.Time{}, false, err
	}

	isUnknown := false
	for n := range half {
		first, err := redisconn.FirstID(oldest[n].Val())
		if err != nil {
			return time.Time{}, false, err
		}

		received := seam.ID(b.streams[n].partition)
		group := b.findGroup(groups[n].Val())
		last, _ := streamentry.ParseID([]byte(group.LastDeliveredID))
		if received.Less(last) {
			received = last
		}

		count := max(group.EntriesRead, seam.Added(b.streams[n].partition))
		if !isTrimmed(streams[n].Val(), first, received, count) {
			continue
		}

		isHole = true
		ms, err := relayed[n].Int64()
		at := time.UnixMilli(ms)
		switch {
		case err != nil:
			isUnknown = true
		case from.IsZero() || at.Before(from):
			from = at
		}
	}

	if isUnknown {
		from = time.Time{} // the whole history is read again
	}

	return from, isHole, nil
}

// findGroup returns the bus' group, or an empty one if it does not exist.
func (b *Bus) findGroup(groups []redis.XInfoGroup) redis.XInfoGroup {
	for _, group := range groups {
		if group.Name == b.cfg.Group {
			return group
		}
	}

	return redis.XInfoGroup{}
}

// isTrimmed reports whether entries after the received one were removed from a stream. count is the
// number of entries up to the received one. The embedded Redis of development mode does not count
// entries; then the answer may be a wrong yes.
func isTrimmed(stream *redis.XInfoStream, oldest, received streamentry.ID, count int64) bool {
	if oldest == (streamentry.ID{}) { // all entries were removed, or there were none
		oldest, _ = streamentry.ParseID([]byte(stream.LastGeneratedID))
	}

	if !received.Less(oldest) {
		return false
	}

	return stream.EntriesAdded == 0 || count < stream.EntriesAdded-stream.Length
}
