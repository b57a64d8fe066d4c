package bus

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const measureEvery = 2 * time.Second

// keepHouse does what is due now and then, until ctx ends: it shows that events under
// way are not forgotten, and measures.
func (b *Redis) keepHouse(ctx context.Context) error {
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
			err = b.stillHere(ctx)
		case <-measure.C:
			err = b.measure(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.d.metrics.group.errors.Inc()
		}
	}
}

// stillHere resets the idle time of entries that are under way for longer, so that
// nobody takes them over.
func (b *Redis) stillHere(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisWait)
	defer cancel()
	now := time.Now()
	ids := make([][]string, len(b.parts))
	b.mu.Lock()
	for at, t := range b.flying {
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

// lag is what one stream holds for the group.
type lag struct {
	entries int64    // not handed out, or not acknowledged
	oldest  streamID // of those; zero: none
}

// measure sets the group's metrics of lag and dead letters.
func (b *Redis) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisWait)
	defer cancel()
	var entries, dead int64
	var oldest uint64
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	for _, p := range b.parts {
		l, err := b.lagOf(ctx, p)
		if err != nil {
			return err
		}
		entries += l.entries
		if l.entries > 0 {
			oldest = max(oldest, now-min(now, l.oldest.millis))
		}
		if !p.replay {
			n, err := b.rdb.XLen(ctx, b.cfg.Keys.Dead(p.partition, b.cfg.Group)).Result()
			if err != nil {
				return err
			}
			dead += n
		}
	}
	m := &b.d.metrics.group
	m.lagEntries.Set(float64(entries))
	m.lagSeconds.Set(float64(oldest) / 1000)
	m.deadLetters.Set(float64(dead))
	return nil
}

func (b *Redis) lagOf(ctx context.Context, p part) (lag, error) {
	groups, err := b.rdb.XInfoGroups(ctx, p.stream).Result()
	if err != nil {
		return lag{}, err
	}
	at := slices.IndexFunc(groups, func(g redis.XInfoGroup) bool { return g.Name == b.cfg.Group })
	if at < 0 {
		return lag{}, nil
	}
	g := groups[at]
	l := lag{entries: g.Pending + max(g.Lag, 0)}
	pipe := b.rdb.Pipeline()
	pending := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: p.stream, Group: b.cfg.Group, Start: "-", End: "+", Count: 1})
	next := pipe.XRangeN(ctx, p.stream, "("+g.LastDeliveredID, "+", 1)
	if _, err := pipe.Exec(ctx); err != nil {
		return lag{}, err
	}
	if l.oldest, err = lastID(next.Val()); err != nil {
		return lag{}, err
	}
	if l.oldest != (streamID{}) && g.Lag <= 0 {
		l.entries++ // Redis cannot tell how many: after a trim, at least this one
	}
	if first := pending.Val(); len(first) > 0 {
		if id, ok := parseStreamID([]byte(first[0].ID)); ok {
			l.oldest = id
		}
	}
	return l, nil
}
