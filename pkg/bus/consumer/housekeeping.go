package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

const measureEvery = 2 * time.Second

// runHousekeeping does what is due now and then, until ctx ends: it shows that events under
// way are not forgotten, and measures.
func (b *Bus) runHousekeeping(ctx context.Context) error {
	beat := time.NewTicker(max(b.cfg.ClaimAfter/3, time.Millisecond))
	defer beat.Stop()
	measure := time.NewTicker(measureEvery)
	defer measure.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			err = b.extendClaims(ctx)
		case <-measure.C:
			err = b.measure(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.metrics.errors.Inc()
		}
	}
}

// extendClaims resets the idle time of entries that are under way for longer, so that
// nobody takes them over.
func (b *Bus) extendClaims(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisWait)
	defer cancel()
	now := time.Now()
	ids := make([][]string, len(b.parts))
	b.mu.Lock()
	for at, t := range b.inFlight {
		if now.Sub(t.seen) > b.cfg.ClaimAfter/4 {
			t.seen = now
			ids[at.part] = append(ids[at.part], at.id.String())
		}
	}
	b.mu.Unlock()
	pipe := b.rdb.Pipeline()
	for n, list := range ids {
		for some := range slices.Chunk(list, maxCount) {
			pipe.XClaimJustID(ctx, &redis.XClaimArgs{Stream: b.parts[n].stream, Group: b.cfg.Group, Consumer: b.cfg.Consumer, Messages: some})
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	_, err := pipe.Exec(ctx)
	return err
}

// measure sets the group's metrics of lag and dead letters, with two round trips however many streams there are.
func (b *Bus) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisWait)
	defer cancel()
	pipe := b.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, len(b.parts))
	var letters []*redis.IntCmd
	for n, p := range b.parts {
		groups[n] = pipe.XInfoGroups(ctx, p.stream)
		if !p.replay {
			letters = append(letters, pipe.XLen(ctx, b.cfg.Keys.Dead(p.partition, b.cfg.Group)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	pipe = b.rdb.Pipeline()
	var lags []lag
	for n, p := range b.parts {
		for _, g := range groups[n].Val() {
			if g.Name == b.cfg.Group {
				lags = append(lags, lag{
					group:   g,
					pending: pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: p.stream, Group: g.Name, Start: "-", End: "+", Count: 1}),
					next:    pipe.XRangeN(ctx, p.stream, "("+g.LastDeliveredID, "+", 1),
				})
			}
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	var entries, dead int64
	var oldest uint64
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	for i := range lags {
		n, first, err := lags[i].read()
		if err != nil {
			return err
		}
		if entries += n; n > 0 {
			oldest = max(oldest, now-min(now, first.Millis))
		}
	}
	for _, n := range letters {
		dead += n.Val()
	}
	m := &b.metrics
	m.lagEntries.Set(float64(entries))
	m.lagSeconds.Set(float64(oldest) / 1000)
	m.deadLetters.Set(float64(dead))
	return nil
}

// lag is what Redis says of one stream.
type lag struct {
	group   redis.XInfoGroup
	pending *redis.XPendingExtCmd   // the first entry that was handed out and not acknowledged
	next    *redis.XMessageSliceCmd // the first one that was not handed out
}

// read tells how many entries wait for the group, and the oldest of them.
func (l *lag) read() (entries int64, oldest streamentry.ID, err error) {
	entries = l.group.Pending + max(l.group.Lag, 0)
	if oldest, err = redisconn.FirstID(l.next.Val()); err != nil {
		return 0, oldest, err
	}
	if oldest != (streamentry.ID{}) && l.group.Lag <= 0 {
		entries++ // Redis cannot tell how many: after a trim, at least this one
	}
	if first := l.pending.Val(); len(first) > 0 {
		if id, ok := streamentry.ParseID([]byte(first[0].ID)); ok {
			oldest = id
		}
	}
	return entries, oldest, nil
}
