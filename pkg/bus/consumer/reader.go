package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

const (
	groupBlock  = 250 * time.Millisecond // how long a read waits; Close may wait as long
	replayPause = 250 * time.Millisecond // time between two reads of replayed dead letters
	maxCount    = 1000                   // entries of one stream in one read
)

// reader reads some streams of the bus, with one call at a time.
type reader struct {
	b          *Bus
	streams    []int // indexes in Bus.streams
	replay     bool  // the streams hold replayed dead letters, so they are polled
	byKey      map[string]int
	decoder    streamentry.Decoder
	streamArgs []string      // arguments of XREADGROUP: the keys, then the ids
	block      time.Duration // how long a read waits; negative: it does not wait
	logLimit   rate.Sometimes

	groupsExist   bool // the groups exist
	groupsExisted bool // the groups existed before, so a group that was lost reads its stream from the start
	pendingRead   bool // the consumer's own pending entries were read again
	lastClaim     time.Time
}

// newReaders returns one reader for all event streams and one for all replay streams. On a cluster
// it returns one for each stream, since a call cannot span slots.
func (b *Bus) newReaders() []*reader {
	half := len(b.streams) / 2
	perReader := half
	if _, ok := b.rdb.(*redis.ClusterClient); ok {
		perReader = 1
	}

	var readers []*reader
	for first := 0; first < len(b.streams); first += perReader {
		readers = append(readers, b.newReader(first, perReader))
	}

	return readers
}

// newReader returns a reader of count streams.
func (b *Bus) newReader(first, count int) *reader {
	r := &reader{
		b:        b,
		replay:   b.streams[first].replay,
		block:    groupBlock,
		byKey:    map[string]int{},
		logLimit: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}

	if r.replay {
		r.block = -1 // does not wait
	}

	for n := first; n < first+count; n++ {
		r.streams = append(r.streams, n)
		r.byKey[b.streams[n].key] = n
		r.streamArgs = append(r.streamArgs, b.streams[n].key)
	}

	for range count {
		r.streamArgs = append(r.streamArgs, ">")
	}

	return r
}

// run reads until ctx ends, and retries after errors. It gives up only on ErrLayout.
func (r *reader) run(ctx context.Context) error {
	retry := backoff.ExponentialBackOff{
		InitialInterval:     20 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         time.Second,
	}

	for ctx.Err() == nil {
		err := r.runStep(ctx)
		switch {
		case err == nil:
			retry.Reset()
			if r.replay {
				wait.Sleep(ctx, replayPause)
			}
		case errors.Is(err, bus.ErrLayout):
			return err
		case ctx.Err() == nil:
			r.handleError(err)
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}

	return nil
}

func (r *reader) handleError(err error) {
	r.pendingRead = false // the reply with new entries may have been lost
	if strings.HasPrefix(err.Error(), "NOGROUP") {
		r.groupsExist = false
	}

	r.b.metrics.errors.Inc()
	r.logLimit.Do(func() {
		r.b.cfg.Logger.Warn("reading events failed; retrying", "group", r.b.cfg.Group, "error", err)
	})
}

// runStep prepares the groups if necessary and reads once.
func (r *reader) runStep(ctx context.Context) error {
	if !r.groupsExist {
		err := r.createGroups(ctx)
		if err != nil {
			return err
		}

		r.groupsExist = true
		r.groupsExisted = true
	}

	if !r.replay && !r.b.waitForBackfills(ctx) {
		return nil // ctx ended
	}

	if !r.pendingRead {
		for _, n := range r.streams {
			err := r.readOwnPending(ctx, n)
			if err != nil {
				return err
			}
		}

		r.pendingRead = true
	}

	err := r.claimIfDue(ctx)
	if err != nil {
		return err
	}

	count, err := r.waitForShare(ctx, len(r.streams))
	if err != nil {
		return nil //nolint:nilerr // ctx ended
	}

	return r.readNew(ctx, min(count, maxCount))
}

// createGroups creates the groups that do not exist.
func (r *reader) createGroups(ctx context.Context) error {
	streams := make([]groupStream, len(r.streams))
	for i, n := range r.streams {
		streams[i] = r.b.streams[n]
	}

	return r.b.createGroups(ctx, streams, !r.groupsExisted)
}

// createGroups creates the groups of streams that do not exist. The first time it checks that
// publishers use the same layout, and Config.FromNow applies.
func (b *Bus) createGroups(ctx context.Context, streams []groupStream, isFirst bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	if isFirst {
		err := redisconn.CheckLayout(ctx, b.rdb, b.cfg.Keys)
		if err != nil {
			return err
		}
	}

	pipe := b.rdb.Pipeline()
	for _, stream := range streams {
		start := "0"
		if b.cfg.FromNow && isFirst && !stream.replay {
			start = "$"
		}

		pipe.XGroupCreateMkStream(ctx, stream.key, b.cfg.Group, start)
	}

	cmds, _ := pipe.Exec(ctx) // each command has its own error
	for _, cmd := range cmds {
		err := cmd.Err()
		if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return err
		}
	}

	return nil
}

// readNew waits for new entries and starts their events.
func (r *reader) readNew(ctx context.Context, count int) error {
	replies, err := r.sendReadGroup(ctx, count, r.block)
	if errors.Is(err, redis.Nil) {
		return nil
	}

	if err != nil {
		return err
	}

	now := time.Now()
	var tasks []*entryTask
	for _, reply := range replies {
		n, ok := r.byKey[reply.Stream]
		if !ok {
			return fmt.Errorf("%w: unexpected stream %q", resp.ErrProtocol, reply.Stream)
		}

		added, _, err := r.makeTasks(ctx, n, reply.Messages, now)
		if err != nil {
			return err
		}

		tasks = append(tasks, added...)
	}

	r.b.admitTasks(tasks)
	return nil
}

// makeTasks returns the tasks of entries of stream n, and the last entry's id. It acknowledges the
// entries that need no task.
func (r *reader) makeTasks(ctx context.Context, n int, messages []redis.XMessage, now time.Time) (tasks []*entryTask, last streamentry.ID, err error) {
	for _, message := range messages {
		last, err = parseEntryID(message)
		if err != nil {
			return nil, last, err
		}

		t, err := r.makeTask(ctx, entryRef{stream: n, id: last}, message, now)
		if err != nil {
			return nil, last, err
		}

		if t != nil {
			tasks = append(tasks, t)
		}
	}

	return tasks, last, nil
}

// makeTask returns the task of an entry. It acknowledges the entry and returns nil in three cases:
// the stream trimmed the entry, the entry is a second party's delivery and Config.Copies is false,
// or no subscription wants the event: its type, or because it got the event with the history.
func (r *reader) makeTask(ctx context.Context, ref entryRef, message redis.XMessage, now time.Time) (*entryTask, error) {
	b := r.b
	replay := b.streams[ref.stream].replay
	if message.Values == nil {
		if !replay { // an entry of a replay stream was handled
			b.metrics.trimmed.Inc()
		}

		b.acks.acknowledgeEntry(ref)
		return nil, nil
	}

	event := r.decoder.DecodeEvent(message.Values)
	if event.SecondParty && !b.cfg.Copies && !replay {
		b.acks.acknowledgeEntry(ref)
		return nil, nil
	}

	plan := b.d.PlanFor(event.Type)
	if !replay && len(plan) > 0 && len(b.since.seams) > 0 {
		covered, err := b.since.coveredBy(ctx, ref.id, b.streams[ref.stream].partition, &event.Event)
		if err != nil {
			return nil, err
		}

		plan = plan.Without(covered)
		if len(plan) == 0 {
			b.acks.acknowledgeEntry(ref)
			return nil, nil
		}
	}

	if len(plan) == 0 && bus.ValidName(event.Type, bus.MaxTypeBytes) && !replay {
		m := b.d.Metrics
		m.NoSubscribers.WithLabelValues(m.TypeLabel(event.Type)).Inc()
		b.acks.acknowledgeEntry(ref)

		return nil, nil
	}

	t := r.newTask(ref, message, event, now)
	t.Plan = plan
	if replay && bus.ValidName(event.Subscriber, bus.MaxNameBytes) {
		t.restrictTo(event.Subscriber, b.d.Subscriber(event.Subscriber))
	}

	return t, nil
}

// restrictTo makes the task a replay for one subscription. s is nil if the subscription does not
// exist.
func (t *entryTask) restrictTo(subscription string, s *dispatch.Subscriber) {
	t.replayedFor = subscription
	if s != nil {
		t.Plan = dispatch.Plan{{s}}
	} else if t.deadReason == nil {
		t.deadReason = errors.New("the subscription of this dead letter does not exist any more")
	}
}

// admitTasks starts the events that are not in flight already. The other entries will be
// acknowledged once more, since Redis may have handed them out between their acknowledgement and
// its reply. A task that becomes a dead letter is in flight until Redis has the letter.
func (b *Bus) admitTasks(tasks []*entryTask) {
	if len(tasks) == 0 {
		return
	}

	b.mu.Lock()
	admitted := tasks[:0]
	for _, t := range tasks {
		running := b.inFlight[t.entryRef]
		if running != nil {
			running.ackAgain = true
			continue
		}

		b.inFlight[t.entryRef] = t
		admitted = append(admitted, t)
	}

	b.mu.Unlock()

	b.d.InFlight.Add(len(admitted))
	b.d.Metrics.InFlight.Add(float64(len(admitted)))
	for _, t := range admitted {
		if t.deadReason != nil {
			b.acks.deadLetterEntry(t)
		} else {
			b.d.Start(&t.Task)
		}
	}
}
