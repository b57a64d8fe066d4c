package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// measureInterval is the time between two updates of the lag metrics.
const measureInterval = 2 * time.Second

// runHousekeeping extends the claims of events in flight and updates the metrics, until ctx ends.
func (b *Bus) runHousekeeping(ctx context.Context) error {
	extend := time.NewTicker(max(b.cfg.ClaimAfter/3, time.Millisecond))
	defer extend.Stop()

	measure := time.NewTicker(measureInterval)
	defer measure.Stop()

	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-extend.C:
			err = b.extendClaims(ctx)
		case <-measure.C:
			err = b.measureLag(ctx)
			if err == nil {
				err = b.noteRelayed(ctx)
			}
		}

		if err != nil && ctx.Err() == nil {
			b.metrics.errors.Inc()
		}
	}
}

// extendClaims resets the idle time of entries that have been in flight for a quarter of
// Config.ClaimAfter, so that no other consumer claims them.
func (b *Bus) extendClaims(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	now := time.Now()
	ids := make([][]string, len(b.streams))
	b.mu.Lock()

	for ref, t := range b.inFlight {
		if now.Sub(t.claimedAt) > b.cfg.ClaimAfter/4 {
			t.claimedAt = now
			ids[ref.stream] = append(ids[ref.stream], ref.id.String())
		}
	}

	b.mu.Unlock()

	pipe := b.rdb.Pipeline()
	for n, list := range ids {
		for chunk := range slices.Chunk(list, maxCount) {
			pipe.XClaimJustID(ctx, &redis.XClaimArgs{
				Stream:   b.streams[n].key,
				Group:    b.cfg.Group,
				Consumer: b.cfg.Consumer,
				Messages: chunk,
			})
		}
	}

	if pipe.Len() == 0 {
		return nil
	}

	_, err := pipe.Exec(ctx)
	return err
}

// measureLag updates the group's metrics of lag and dead letters. It takes two round trips for any
// number of streams.
func (b *Bus) measureLag(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	pipe := b.rdb.Pipeline()
	groupCmds := make([]*redis.XInfoGroupsCmd, len(b.streams))
	var letterCmds []*redis.IntCmd

	for n, stream := range b.streams {
		groupCmds[n] = pipe.XInfoGroups(ctx, stream.key)
		if !stream.replay {
			letterCmds = append(letterCmds, pipe.XLen(ctx, b.cfg.Keys.Dead(stream.partition, b.cfg.Group)))
		}
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return err
	}

	lags, err := b.readLags(ctx, groupCmds)
	if err != nil {
		return err
	}

	var entries int64
	var oldestAge uint64                  // ms
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970

	for i := range lags {
		n, oldest, err := lags[i].countEntries()
		if err != nil {
			return err
		}

		entries += n
		if n > 0 {
			oldestAge = max(oldestAge, now-min(now, oldest.Millis))
		}
	}

	var letters int64
	for _, cmd := range letterCmds {
		letters += cmd.Val()
	}

	b.metrics.lagEntries.Set(float64(entries))
	b.metrics.lagSeconds.Set(float64(oldestAge) / 1000)
	b.metrics.deadLetters.Set(float64(letters))

	return nil
}

// streamLag is the state of the group in one stream.
type streamLag struct {
	group   redis.XInfoGroup
	pending *redis.XPendingExtCmd   // the first entry that was handed out and not acknowledged
	next    *redis.XMessageSliceCmd // the first entry that was not handed out
}

// readLags reads the lag of each stream in which the group exists.
func (b *Bus) readLags(ctx context.Context, groupCmds []*redis.XInfoGroupsCmd) ([]streamLag, error) {
	pipe := b.rdb.Pipeline()
	var lags []streamLag
	for n, stream := range b.streams {
		for _, group := range groupCmds[n].Val() {
			if group.Name != b.cfg.Group {
				continue
			}

			lags = append(lags, streamLag{
				group:   group,
				pending: pipe.XPendingExt(ctx, firstPending(stream.key, group.Name)),
				next:    pipe.XRangeN(ctx, stream.key, "("+group.LastDeliveredID, "+", 1),
			})
		}
	}

	_, err := pipe.Exec(ctx)
	return lags, err
}

// firstPending asks for the group's first entry that was handed out and not acknowledged.
func firstPending(stream, group string) *redis.XPendingExtArgs {
	return &redis.XPendingExtArgs{
		Stream: stream,
		Group:  group,
		Start:  "-",
		End:    "+",
		Count:  1,
	}
}

// countEntries returns how many entries the group has not handled, and the oldest of them.
func (l *streamLag) countEntries() (entries int64, oldest streamentry.ID, err error) {
	entries = l.group.Pending + max(l.group.Lag, 0)
	oldest, err = redisconn.FirstID(l.next.Val())
	if err != nil {
		return 0, oldest, err
	}

	if oldest != (streamentry.ID{}) && l.group.Lag <= 0 {
		entries++ // after a trim Redis does not know the lag, which is at least this entry
	}

	first := l.pending.Val()
	if len(first) > 0 {
		id, ok := streamentry.ParseID([]byte(first[0].ID))
		if ok {
			oldest = id
		}
	}

	return entries, oldest, nil
}
