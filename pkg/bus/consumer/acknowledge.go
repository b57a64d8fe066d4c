package consumer

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// An acknowledger writes the results of entries to Redis: acknowledgements, done markers and dead
// letters. Results gather for gatherDelay and are then sent in one pipeline. Failed writes are
// retried.
//
// An event that all subscriptions finish within that time costs an XACK and no marker.
type acknowledger struct {
	b        *Bus
	logLimit rate.Sometimes

	mu      sync.Mutex // protects pending
	pending results
	wake    chan struct{} // holds a token when pending is not empty
}

// results are results that are not in Redis yet.
type results struct {
	skipped []entryRef   // entries to be acknowledged that have no task
	done    []*entryTask // tasks to be acknowledged
	markers []doneMarker
	letters []newLetter
}

func (r *results) isEmpty() bool {
	return len(r.skipped)+len(r.done)+len(r.markers)+len(r.letters) == 0
}

// doneMarker says that a subscription is done with an event.
type doneMarker struct {
	task         *entryTask
	subscription string
}

const (
	gatherDelay  = 2 * time.Millisecond
	retryDelay   = 100 * time.Millisecond
	maxAcks      = 4096 // entries in one XACK
	redisTimeout = 5 * time.Second
)

func newAcknowledger(b *Bus) *acknowledger {
	return &acknowledger{
		b:        b,
		wake:     make(chan struct{}, 1),
		logLimit: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// addResults calls add with the pending results and wakes run.
func (a *acknowledger) addResults(add func(*results)) {
	a.mu.Lock()
	add(&a.pending)
	a.mu.Unlock()

	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// acknowledgeEntry acknowledges an entry that has no task.
func (a *acknowledger) acknowledgeEntry(ref entryRef) {
	a.addResults(func(r *results) { r.skipped = append(r.skipped, ref) })
}

// taskFinished acknowledges the entry of a task that all subscriptions are done with.
func (a *acknowledger) taskFinished(t *dispatch.Task) {
	a.addResults(func(r *results) { r.done = append(r.done, entryOf(t)) })
}

// subscriberDone marks a subscription as done with a task that others are not done with.
func (a *acknowledger) subscriberDone(t *dispatch.Task, sub *dispatch.Subscriber) {
	a.addResults(func(r *results) { r.markers = append(r.markers, doneMarker{entryOf(t), sub.ID}) })
}

// entryOf returns the stream entry of a dispatcher's task.
func entryOf(t *dispatch.Task) *entryTask { return t.Owner.(*entryTask) }

// run writes results until ctx ends, and then once more.
func (a *acknowledger) run(ctx context.Context) error {
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			a.writeResults(context.WithoutCancel(ctx))
			return nil
		}

		wait.Sleep(ctx, gatherDelay)
		ok := a.writeResults(context.WithoutCancel(ctx))
		if !ok {
			wait.Sleep(ctx, retryDelay)
		}
	}
}

// writeResults writes all pending results. If some of them fail, they become pending again and it
// returns false.
func (a *acknowledger) writeResults(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()

	a.mu.Lock()
	now := a.pending
	a.pending = results{}
	a.mu.Unlock()

	var failed results
	failed.letters = a.writeLetters(ctx, now.letters)
	failed.markers = a.writeMarkers(ctx, now.markers)
	failed.skipped, failed.done = a.writeAcks(ctx, now.skipped, now.done)
	if failed.isEmpty() {
		return true
	}

	a.addResults(func(r *results) {
		r.skipped = append(failed.skipped, r.skipped...)
		r.done = append(failed.done, r.done...)
		r.markers = append(failed.markers, r.markers...)
		r.letters = append(failed.letters, r.letters...)
	})

	return false
}

// reportError counts an error and logs it, at most once in 10 s.
func (a *acknowledger) reportError(operation string, err error) {
	a.b.metrics.errors.Inc()
	a.logLimit.Do(func() {
		a.b.cfg.Logger.Warn("acknowledging events failed; retrying", "group", a.b.cfg.Group, "operation", operation, "error", err)
	})
}

// doneKey returns the key of the set of subscriptions that are done with the task's event.
func (a *acknowledger) doneKey(t *entryTask) string {
	event := t.Event.ID
	if t.secondParty { // the deliveries of both parties may be in one partition
		event += ":copy"
	}
	return a.b.cfg.Keys.Done(a.b.streams[t.stream].partition, a.b.cfg.Group, event)
}

func (a *acknowledger) addMarker(ctx context.Context, pipe redis.Pipeliner, m doneMarker) {
	key := a.doneKey(m.task)
	pipe.SAdd(ctx, key, m.subscription)
	pipe.PExpire(ctx, key, a.b.cfg.DoneTTL)
}

// writeMarkers writes the markers of events that other subscriptions are not done with. It returns
// the markers to be retried: those of streams whose part of Redis did not answer.
func (a *acknowledger) writeMarkers(ctx context.Context, markers []doneMarker) (failed []doneMarker) {
	pipe := a.newStreamPipe()
	for _, m := range markers {
		if !m.task.acknowledged && m.task.Remaining.Load() > 0 {
			a.addMarker(ctx, pipe.Pipeliner, m)
			pipe.endCommands(m.task.stream)
			m.task.hasMarker = true
		}
	}

	failedStreams := pipe.execCommands(ctx, "done markers")
	return slices.DeleteFunc(markers, func(m doneMarker) bool { return !failedStreams[m.task.stream] })
}

// writeAcks acknowledges entries and tasks and deletes the markers of the tasks. It returns the
// ones to be retried: those of streams whose part of Redis did not answer.
func (a *acknowledger) writeAcks(ctx context.Context, skipped []entryRef, done []*entryTask) ([]entryRef, []*entryTask) {
	if len(skipped)+len(done) == 0 {
		return nil, nil
	}

	ids := make([][]streamentry.ID, len(a.b.streams))
	for _, ref := range skipped {
		ids[ref.stream] = append(ids[ref.stream], ref.id)
	}

	pipe := a.newStreamPipe()
	for _, t := range done {
		ids[t.stream] = append(ids[t.stream], t.id)
		if t.hasMarker {
			pipe.Unlink(ctx, a.doneKey(t))
			pipe.endCommands(t.stream)
		}
	}

	for n, list := range ids {
		for chunk := range slices.Chunk(list, maxAcks) {
			a.addAcks(ctx, pipe.Pipeliner, a.b.streams[n], chunk)
			pipe.endCommands(n)
		}
	}

	failedStreams := pipe.execCommands(ctx, "acknowledge")
	if len(failedStreams) == 0 {
		a.endTasks(done)
		return nil, nil
	}

	var ended, failed []*entryTask
	for _, t := range done {
		if failedStreams[t.stream] {
			failed = append(failed, t)
		} else {
			ended = append(ended, t)
		}
	}

	a.endTasks(ended)
	return slices.DeleteFunc(skipped, func(ref entryRef) bool { return !failedStreams[ref.stream] }), failed
}

// addAcks adds an XACK of many entries. All their ids share one buffer. Entries of a replay stream are
// also deleted, and before that: if the process dies in between, another one acknowledges them, while
// an entry that was only acknowledged would stay in the stream for ever.
func (a *acknowledger) addAcks(ctx context.Context, pipe redis.Pipeliner, stream groupStream, ids []streamentry.ID) {
	const maxIDBytes = 41                          // two numbers of 20 digits
	buffer := make([]byte, 0, maxIDBytes*len(ids)) // never grows, since texts points into it
	texts := make([]string, len(ids))
	args := make([]any, 0, 3+len(ids))
	args = append(args, "xack", stream.key, a.b.cfg.Group)

	for i, id := range ids {
		start := len(buffer)
		buffer = strconv.AppendUint(buffer, id.Millis, 10)
		buffer = append(buffer, '-')
		buffer = strconv.AppendUint(buffer, id.Number, 10)
		texts[i] = streamentry.UnsafeString(buffer[start:])
		args = append(args, &texts[i])
	}

	if stream.replay {
		pipe.XDel(ctx, stream.key, texts...)
	}

	_ = pipe.Process(ctx, redis.NewIntCmd(ctx, args...))
}

// endTasks removes acknowledged tasks from the events in flight.
func (a *acknowledger) endTasks(tasks []*entryTask) {
	b := a.b
	b.mu.Lock()
	for _, t := range tasks {
		t.acknowledged = true
		delete(b.inFlight, t.entryRef)
		if t.ackAgain {
			a.acknowledgeEntry(t.entryRef)
		}
	}

	b.mu.Unlock()
	b.d.Metrics.InFlight.Sub(float64(len(tasks)))
	b.d.InFlight.Add(-len(tasks))
}
