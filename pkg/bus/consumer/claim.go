package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// maxDeliveries is how often an entry is handed out before it becomes a dead letter
// unseen: each time but the first its consumer died, or lost Redis, before it ended.
const maxDeliveries = 10

const claimCount = 100 // entries in one call

// claimDue takes over what others left, now and then.
func (r *reader) claimDue(ctx context.Context) error {
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
func (r *reader) claim(ctx context.Context, n int) error {
	p, from := r.b.parts[n], "0-0"
	for {
		free, err := r.free(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}
		messages, next, err := r.claimIdle(ctx, p.stream, from, min(free, claimCount))
		if err != nil {
			return err
		}
		tasks, _, err := r.tasks(n, messages, time.Now())
		if err != nil {
			return err
		}
		if err := r.readmit(ctx, p, tasks); err != nil || next == "0-0" {
			return err
		}
		from = next
	}
}

// own reads again what was given to this consumer and is not under way: it was lost
// with a connection, or with the process before.
func (r *reader) own(ctx context.Context, n int) error {
	p, from := r.b.parts[n], streamentry.ID{}
	for {
		free, err := r.free(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}
		streams, err := r.b.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: r.b.cfg.Group, Consumer: r.b.cfg.Consumer, Streams: []string{p.stream, from.String()},
			Count: int64(min(free, claimCount)), Block: -1,
		}).Result()
		if errors.Is(err, redis.Nil) || (err == nil && len(streams) == 0) {
			return nil
		}
		if err != nil {
			return err
		}
		tasks, last, err := r.tasks(n, streams[0].Messages, time.Now())
		if err != nil {
			return err
		}
		if err := r.readmit(ctx, p, tasks); err != nil || len(streams[0].Messages) == 0 {
			return err
		}
		from = last
	}
}

func (r *reader) free(ctx context.Context) (int, error) {
	return r.b.d.InFlight.WaitForRoom(ctx, max(1, r.b.cfg.MaxInFlight))
}

// readmit starts events that were handed out before: without the subscriptions that
// are through with them, and not at all when they were handed out too often or are not pending any more.
func (r *reader) readmit(ctx context.Context, p part, tasks []*entryTask) error {
	b := r.b
	tasks = b.notInFlight(tasks)
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
			t.Plan = t.Plan.Without(through)
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
	b.metrics.claimed.Add(float64(len(held)))
	b.admit(held)
	return nil
}

func (b *Bus) notInFlight(tasks []*entryTask) []*entryTask {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := tasks[:0]
	for _, t := range tasks {
		if b.inFlight[t.place] == nil {
			fresh = append(fresh, t)
		}
	}
	return fresh
}
