package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// maxDeliveries is how often an entry is handed out before it becomes a dead letter
// unseen: each time but the first its consumer died, or lost Redis, before it ended.
const maxDeliveries = 10

const claimCount = 100 // entries in one call

// claimDue takes over what others left, now and then.
func (r *groupReader) claimDue(ctx context.Context) error {
	if time.Since(r.claimed) < r.b.cfg.ClaimAfter/2 {
		return nil
	}
	for _, n := range r.parts {
		if err := r.claim(ctx, n); err != nil {
			return err
		}
	}
	r.claimed = time.Now()
	return nil
}

// claim takes over entries of consumers that show no sign of life.
func (r *groupReader) claim(ctx context.Context, n int) error {
	p, from := r.b.parts[n], "0-0"
	for {
		free, err := r.free(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}
		raw, err := r.raw(ctx, "xautoclaim", p.stream, r.b.cfg.Group, r.b.cfg.Consumer,
			r.b.cfg.ClaimAfter.Milliseconds(), from, "count", min(free, claimCount))
		if err != nil {
			return err
		}
		raw.ReadArray() // of cursor, entries and, from Redis 7 on, ids of deleted ones
		from = string(raw.ReadString())
		tasks, _, _ := r.page(&raw, n)
		if raw.Err != nil {
			return raw.Err
		}
		if err := r.readmit(ctx, p, tasks); err != nil || from == "0-0" {
			return err
		}
	}
}

// own reads again what was given to this consumer and is not under way: it was lost
// with a connection, or with the process before.
func (r *groupReader) own(ctx context.Context, n int) error {
	p, from := r.b.parts[n], streamentry.ID{}
	for {
		free, err := r.free(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}
		raw, err := r.raw(ctx, "xreadgroup", "group", r.b.cfg.Group, r.b.cfg.Consumer, "count", min(free, claimCount),
			"streams", p.stream, from.String())
		if err != nil {
			return err
		}
		streams, isMap := raw.ReadArray()
		if streams == 0 {
			return raw.Err
		}
		if !isMap {
			raw.ReadArray() // of key and entries
		}
		raw.ReadString()
		tasks, count, last := r.page(&raw, n)
		if raw.Err != nil {
			return raw.Err
		}
		if err := r.readmit(ctx, p, tasks); err != nil || count == 0 {
			return err
		}
		from = last
	}
}

func (r *groupReader) free(ctx context.Context) (int, error) {
	return r.b.d.inFlight.room(ctx, max(1, r.b.cfg.MaxInFlight))
}

// page reads an array of entries that were handed out before.
func (r *groupReader) page(raw *resp.Cursor, n int) (tasks []*task, count int, last streamentry.ID) {
	count, _ = raw.ReadArray()
	now := time.Now()
	for range count {
		t, id := r.one(raw, n, now)
		if last = id; t != nil {
			tasks = append(tasks, t)
		}
	}
	return tasks, count, last
}

// readmit starts events that were handed out before: without the subscriptions that
// are through with them, and not at all when they were handed out too often or are not pending any more.
func (r *groupReader) readmit(ctx context.Context, p part, tasks []*task) error {
	b := r.b
	tasks = b.notFlying(tasks)
	if len(tasks) == 0 {
		return nil
	}
	pipe := b.rdb.Pipeline()
	counts := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: p.stream, Group: b.cfg.Group, Consumer: b.cfg.Consumer,
		Start: tasks[0].id.String(), End: tasks[len(tasks)-1].id.String(), Count: int64(b.cfg.MaxInFlight + len(tasks)),
	})
	done := make([]*redis.StringSliceCmd, len(tasks))
	for i, t := range tasks {
		done[i] = pipe.SMembers(ctx, b.desk.doneKey(t))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	often := map[string]int64{}
	for _, e := range counts.Val() {
		often[e.ID] = e.RetryCount
	}
	held := tasks[:0]
	for i, t := range tasks {
		through := done[i].Val()
		if t.marked = len(through) > 0; t.marked {
			t.plan = t.plan.without(through)
		}
		n, ok := often[t.id.String()]
		if !ok {
			continue // it was acknowledged since it was read
		}
		if n > maxDeliveries {
			t.bad = fmt.Errorf("handed out %d times and never handled to the end: whoever had it died or lost Redis", n)
		}
		held = append(held, t)
	}
	b.d.metrics.group.claimed.Add(float64(len(held)))
	b.admit(held)
	return nil
}

func (b *Redis) notFlying(tasks []*task) []*task {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := tasks[:0]
	for _, t := range tasks {
		if b.flying[t.place] == nil {
			fresh = append(fresh, t)
		}
	}
	return fresh
}
