package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// relayedMark says that all transactions before a time, in ms, were published up to an entry.
type relayedMark struct {
	relayed int64
	last    streamentry.ID
}

// relayedField has, for each partition, a time before which the group has finished all transactions.
const relayedField = "relayed"

// noteRelayed stores for each partition a time before which the group has finished all transactions.
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
	pending := make([]*redis.XPendingExtCmd, half)
	relayed := make([]*redis.StringCmd, half)
	newest := make([]*redis.XMessageSliceCmd, half)
	for n, stream := range b.streams[:half] {
		groups[n] = pipe.XInfoGroups(ctx, stream.key)
		pending[n] = pipe.XPendingExt(ctx, firstPending(stream.key, b.cfg.Group)) // after the group is read
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
		unfinished, isPending := firstPendingID(pending[n].Val())
		isFinished := !received.Less(mark.last) && (!isPending || mark.last.Less(unfinished))
		if mark.relayed > 0 && isFinished {
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

// firstPendingID returns the id of the first entry that was handed out and not acknowledged.
func firstPendingID(pending []redis.XPendingExt) (id streamentry.ID, found bool) {
	if len(pending) == 0 {
		return streamentry.ID{}, false
	}

	return streamentry.ParseID([]byte(pending[0].ID))
}

// streamPlace is how far a group has come in a partition's stream.
type streamPlace struct {
	partition  int
	stream     *redis.XInfoStream
	group      redis.XInfoGroup
	oldest     streamentry.ID // entry of the stream; zero: there is none
	unfinished streamentry.ID // the first entry that was handed out and not acknowledged
	hasPending bool
	relayed    int64 // what relayedField has; 0: nothing
}

// readPlaces reads the place of the group in each stream that the bus reads.
func (b *Bus) readPlaces(ctx context.Context) ([]streamPlace, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	half := len(b.streams) / 2
	pipe := b.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, half)
	pending := make([]*redis.XPendingExtCmd, half)
	streams := make([]*redis.XInfoStreamCmd, half)
	oldest := make([]*redis.XMessageSliceCmd, half)
	relayed := make([]*redis.StringCmd, half)
	for n, stream := range b.streams[:half] {
		groups[n] = pipe.XInfoGroups(ctx, stream.key)
		pending[n] = pipe.XPendingExt(ctx, firstPending(stream.key, b.cfg.Group))
		streams[n] = pipe.XInfoStream(ctx, stream.key)
		oldest[n] = pipe.XRangeN(ctx, stream.key, "-", "+", 1)
		relayed[n] = pipe.HGet(ctx, b.cfg.Keys.Backfill(stream.partition, b.cfg.Group), relayedField)
	}

	_, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}

	places := make([]streamPlace, half)
	for n, stream := range b.streams[:half] {
		first, err := redisconn.FirstID(oldest[n].Val())
		if err != nil {
			return nil, err
		}

		place := &places[n]
		place.partition = stream.partition
		place.stream, err = streams[n].Result()
		if err != nil {
			return nil, err
		}

		place.group = b.findGroup(groups[n].Val())
		place.oldest = first
		place.unfinished, place.hasPending = firstPendingID(pending[n].Val())
		place.relayed, _ = relayed[n].Int64() // 0 if it is absent
	}

	return places, nil
}

// findHole reports whether a stream was trimmed after the last entry that the group has finished or
// that the history has. It returns a time before which the group has finished all transactions, or
// the zero time.
func (b *Bus) findHole(ctx context.Context, seam *backfill.Seam) (from time.Time, isHole bool, err error) {
	places, err := b.readPlaces(ctx)
	if err != nil {
		return time.Time{}, false, err
	}

	isUnknown := false
	for i := range places {
		place := &places[i]
		if !place.hasHole(seam) {
			continue
		}

		isHole = true
		ms := max(place.relayed, seam.Relayed(place.partition))
		at := time.UnixMilli(ms)
		switch {
		case ms == 0:
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

// hasHole reports whether the stream has lost entries that the group has not finished and that the
// history of the seam does not have.
func (p *streamPlace) hasHole(seam *backfill.Seam) bool {
	if !seam.IsStored(p.partition) {
		return true // this part of Redis lost its data
	}

	received := seam.ID(p.partition)
	last, _ := streamentry.ParseID([]byte(p.group.LastDeliveredID))
	if received.Less(last) {
		received = last
	}

	count := max(p.group.EntriesRead, seam.Added(p.partition))
	return p.lostUnfinished(seam.ID(p.partition)) || isTrimmed(p.stream, p.oldest, received, count)
}

// lostUnfinished reports whether an entry after the seam was handed out and then removed before it was
// acknowledged. The consumer that had it may have died.
func (p *streamPlace) lostUnfinished(seam streamentry.ID) bool {
	if !p.hasPending || !seam.Less(p.unfinished) {
		return false
	}

	isEmpty := p.oldest == streamentry.ID{}
	return isEmpty || p.unfinished.Less(p.oldest)
}

// isTrimmed reports whether entries after the received one were removed from a stream. count is the
// number of entries up to the received one. The embedded Redis of development mode does not count
// entries; then the answer may be a wrong yes.
func isTrimmed(stream *redis.XInfoStream, oldest, received streamentry.ID, count int64) bool {
	if oldest == (streamentry.ID{}) { // all entries were removed, or there were none
		oldest, _ = streamentry.ParseID([]byte(stream.LastGeneratedID))
	}

	wasReplaced := stream.EntriesAdded > 0 && stream.EntriesAdded < count
	if wasReplaced {
		return true
	}

	if !received.Less(oldest) {
		return false
	}

	return stream.EntriesAdded == 0 || count < stream.EntriesAdded-stream.Length
}
