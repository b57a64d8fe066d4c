package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// maxDeliveries is how often an entry is handed out before it becomes a dead letter without being
// handled. Each time except the first, its consumer had died or lost Redis.
const maxDeliveries = 10

// claimCount is the largest number of entries in one call.
const claimCount = 100

// claimIfDue claims the entries of consumers that stopped, once per half of Config.ClaimAfter.
func (r *reader) claimIfDue(ctx context.Context) error {
	if time.Since(r.lastClaim) < r.b.cfg.ClaimAfter/2 {
		return nil
	}

	// from is where each stream that has more entries continues. Usually no stream has any, and the
	// first round trip is the only one.
	from := make(map[int]string, len(r.streams))
	for _, n := range r.streams {
		from[n] = "0-0"
	}

	for len(from) > 0 {
		count, err := r.waitForShare(ctx, len(from))
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}

		from, err = r.claimStreams(ctx, from, min(count, claimCount))
		if err != nil {
			return err
		}
	}

	r.lastClaim = time.Now()
	return nil
}

// claimStreams claims up to count entries of each stream whose consumers stopped, with one round
// trip for all streams. It returns where the streams that have more entries continue.
func (r *reader) claimStreams(ctx context.Context, from map[int]string, count int) (next map[int]string, err error) {
	cmds, err := r.sendAutoClaims(ctx, from, count)
	if err != nil {
		return nil, err
	}

	next = map[int]string{}
	for n, cmd := range cmds {
		messages, start := cmd.Val()
		tasks, _, err := r.makeTasks(ctx, n, messages, time.Now())
		if err != nil {
			return nil, err
		}

		err = r.readmitTasks(ctx, r.b.streams[n], tasks)
		if err != nil {
			return nil, err
		}

		if start != "0-0" {
			next[n] = start
		}
	}

	return next, nil
}

// readOwnPending reads the entries of stream n again that Redis had handed out to this consumer and
// that are not in flight. Their replies were lost with a connection, or an earlier process with the
// same consumer name read them.
func (r *reader) readOwnPending(ctx context.Context, n int) error {
	stream := r.b.streams[n]
	from := streamentry.ID{}
	for {
		room, err := r.waitForRoom(ctx)
		if err != nil {
			return nil //nolint:nilerr // ctx ended
		}

		messages, err := r.sendReadPending(ctx, n, from, min(room, claimCount))
		if err != nil || len(messages) == 0 {
			return err
		}

		tasks, last, err := r.makeTasks(ctx, n, messages, time.Now())
		if err != nil {
			return err
		}

		err = r.readmitTasks(ctx, stream, tasks)
		if err != nil {
			return err
		}

		from = last
	}
}

// waitForShare waits until events of that many streams may start, and returns how many of each
// stream. The error is ctx's.
func (r *reader) waitForShare(ctx context.Context, streams int) (int, error) {
	room, err := r.b.d.InFlight.WaitForRoom(ctx, max(1, r.b.cfg.MaxInFlight-streams+1))
	return max(1, (room+streams-1)/streams), err
}

// waitForRoom waits until an event may start, and returns how many may start. The error is ctx's.
func (r *reader) waitForRoom(ctx context.Context) (int, error) {
	return r.b.d.InFlight.WaitForRoom(ctx, max(1, r.b.cfg.MaxInFlight))
}

// readmitTasks starts events that were handed out before, without the subscriptions that are done
// with them. It skips entries that were acknowledged meanwhile. An entry that was handed out more
// than maxDeliveries times becomes a dead letter.
func (r *reader) readmitTasks(ctx context.Context, stream groupStream, tasks []*entryTask) error {
	b := r.b
	tasks = b.withoutInFlight(tasks)
	if len(tasks) == 0 {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := b.rdb.Pipeline()
	pendingCmd := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream:   stream.key,
		Group:    b.cfg.Group,
		Consumer: b.cfg.Consumer,
		Start:    tasks[0].id.String(),
		End:      tasks[len(tasks)-1].id.String(),
		Count:    int64(b.cfg.MaxInFlight + len(tasks)),
	})

	doneCmds := make([]*redis.StringSliceCmd, len(tasks))
	for i, t := range tasks {
		doneCmds[i] = pipe.SMembers(ctx, b.acks.doneKey(t))
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return err
	}

	deliveries := map[string]int64{} // how often a pending entry was handed out, by id
	for _, entry := range pendingCmd.Val() {
		deliveries[entry.ID] = entry.RetryCount
	}

	pending := tasks[:0]
	for i, t := range tasks {
		done := doneCmds[i].Val()
		t.hasMarker = len(done) > 0
		if t.hasMarker {
			t.Plan = t.Plan.Without(done)
		}

		n, isPending := deliveries[t.id.String()]
		if !isPending {
			continue // it was acknowledged after it was read
		}

		if n > maxDeliveries {
			t.deadReason = fmt.Errorf("the entry was handed out %d times and never handled: its consumers died or lost Redis", n)
		}

		pending = append(pending, t)
	}

	b.metrics.claimed.Add(float64(len(pending)))
	b.admitTasks(pending)
	return nil
}

// withoutInFlight removes the tasks whose entries are in flight already.
func (b *Bus) withoutInFlight(tasks []*entryTask) []*entryTask {
	b.mu.Lock()
	defer b.mu.Unlock()

	others := tasks[:0]

	for _, t := range tasks {
		if b.inFlight[t.entryRef] == nil {
			others = append(others, t)
		}
	}

	return others
}
