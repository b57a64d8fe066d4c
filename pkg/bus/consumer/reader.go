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
	groupBlock  = 250 * time.Millisecond // how long a read waits; Close waits as long
	replayPause = 250 * time.Millisecond // between two looks for replayed dead letters
	maxCount    = 1000                   // entries of one stream in one read
)

// reader reads some of the parts with one call at a time.
type reader struct {
	b       *Bus
	parts   []int // places in Redis.parts
	replay  bool  // they are looked at now and then
	byName  map[string]int
	words   streamentry.Decoder
	streams []string      // of XREADGROUP: the names, then the ids
	block   time.Duration // how long a read waits; negative: not at all

	complain  rate.Sometimes
	grouped   bool // the groups are there
	regrouped bool // they were there before: what comes after a loss is read from its start
	checked   bool // what this consumer had before is read again
	claimed   time.Time
}

// readers are one for all streams of events and one for all that replay, or one for
// each partition on a cluster, where a call cannot span slots.
func (b *Bus) readers() []*reader {
	var readers []*reader
	half := len(b.parts) / 2
	share := half
	if _, ok := b.rdb.(*redis.ClusterClient); ok {
		share = 1
	}
	for i := 0; i < len(b.parts); i += share {
		r := &reader{
			b: b, replay: i >= half, block: groupBlock, byName: map[string]int{},
			complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
		}
		if r.replay {
			r.block = -1 // does not wait
		}
		for n := i; n < i+share; n++ {
			r.parts = append(r.parts, n)
			r.byName[b.parts[n].stream] = n
			r.streams = append(r.streams, b.parts[n].stream)
		}
		for range share {
			r.streams = append(r.streams, ">")
		}
		readers = append(readers, r)
	}
	return readers
}

// run is one attempt after the other, until ctx ends. The error is ErrLayout.
func (r *reader) run(ctx context.Context) error {
	retry := backoff.ExponentialBackOff{
		InitialInterval: 20 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 2 * time.Second,
	}
	for ctx.Err() == nil {
		err := r.step(ctx)
		switch {
		case err == nil:
			retry.Reset()
			if r.replay {
				wait.Sleep(ctx, replayPause)
			}
		case errors.Is(err, bus.ErrLayout):
			return err
		case ctx.Err() == nil:
			r.failed(err)
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}
	return nil
}

func (r *reader) failed(err error) {
	r.checked = false // the reply may have been lost on its way
	if strings.HasPrefix(err.Error(), "NOGROUP") {
		r.grouped = false
	}
	r.b.metrics.errors.Inc()
	r.complain.Do(func() {
		r.b.cfg.Logger.Warn("reading events fails, trying again", "group", r.b.cfg.Group, "error", err)
	})
}

func (r *reader) step(ctx context.Context) error {
	if !r.grouped {
		if err := r.group(ctx); err != nil {
			return err
		}
		r.grouped, r.regrouped = true, true
	}
	if !r.checked {
		for _, n := range r.parts {
			if err := r.own(ctx, n); err != nil {
				return err
			}
		}
		r.checked = true
	}
	if err := r.claimDue(ctx); err != nil {
		return err
	}
	free, err := r.b.d.InFlight.WaitForRoom(ctx, max(1, r.b.cfg.MaxInFlight-len(r.parts)+1))
	if err != nil {
		return nil //nolint:nilerr // ctx ended
	}
	return r.read(ctx, min(max(1, (free+len(r.parts)-1)/len(r.parts)), maxCount))
}

// group makes sure that the groups are there, and before the first time that the streams are those
// that publishers write.
func (r *reader) group(ctx context.Context) error {
	if !r.regrouped {
		if err := redisconn.CheckLayout(ctx, r.b.rdb, r.b.cfg.Keys); err != nil {
			return err
		}
	}
	from := "0"
	if r.b.cfg.FromNow && !r.regrouped {
		from = "$"
	}
	pipe := r.b.rdb.Pipeline()
	for _, n := range r.parts {
		pipe.XGroupCreateMkStream(ctx, r.b.parts[n].stream, r.b.cfg.Group, from)
	}
	cmds, _ := pipe.Exec(ctx) // each command has its own error
	for _, c := range cmds {
		if err := c.Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return err
		}
	}
	return nil
}

// read waits for new entries and starts their events.
func (r *reader) read(ctx context.Context, count int) error {
	streams, err := r.readNew(ctx, count, r.block)
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	now := time.Now()
	var tasks []*entryTask
	for _, stream := range streams {
		n, ok := r.byName[stream.Stream]
		if !ok {
			return fmt.Errorf("%w: a stream that was not asked for", resp.ErrProtocol)
		}
		read, _, err := r.tasks(n, stream.Messages, now)
		if err != nil {
			return err
		}
		tasks = append(tasks, read...)
	}
	r.b.admit(tasks)
	return nil
}

// tasks turns entries into tasks and returns the last entry's id. Entries that no subscription wants
// are acknowledged here.
func (r *reader) tasks(n int, messages []redis.XMessage, now time.Time) (tasks []*entryTask, last streamentry.ID, err error) {
	for _, message := range messages {
		last, err = parseEntryID(message)
		if err != nil {
			return nil, last, err
		}
		if t := r.task(place{part: n, id: last}, message, now); t != nil {
			tasks = append(tasks, t)
		}
	}
	return tasks, last, nil
}

// task returns an entry's task. It returns nil and acknowledges the entry when it was trimmed, when it
// is a second party's delivery that is not wanted, or when no subscription wants its type.
func (r *reader) task(at place, message redis.XMessage, now time.Time) *entryTask {
	b := r.b
	m := b.d.Metrics
	replay := b.parts[at.part].replay
	if message.Values == nil {
		b.metrics.trimmed.Inc()
		b.desk.ack(at)
		return nil
	}
	event := r.words.DecodeEvent(message.Values)
	if event.SecondParty && !b.cfg.Copies && !replay {
		b.desk.ack(at)
		return nil
	}
	plan := b.d.PlanFor(event.Type)
	if len(plan) == 0 && bus.ValidName(event.Type, bus.MaxTypeBytes) && !replay {
		m.NoSubscribers.WithLabelValues(m.TypeLabel(event.Type)).Inc()
		b.desk.ack(at)
		return nil
	}
	t := r.newTask(at, message, event, now)
	t.Plan = plan
	if replay && bus.ValidName(event.Subscriber, bus.MaxNameBytes) {
		t.replayFor(event.Subscriber, b.d.Subscriber(event.Subscriber))
	}
	return t
}

// replayFor leaves the event to the one subscription that failed.
func (t *entryTask) replayFor(who string, s *dispatch.Subscriber) {
	t.only = who
	if s != nil {
		t.Plan = dispatch.Plan{{s}}
	} else if t.bad == nil {
		t.bad = errors.New("the subscription of this dead letter is not there any more")
	}
}

// admit starts events, except those that are under way already: these are acknowledged once more, since Redis may have
// handed them out again after it was told that they are done and before that was known here. Those that are to be dead
// letters are under way until Redis has the letter.
func (b *Bus) admit(tasks []*entryTask) {
	if len(tasks) == 0 {
		return
	}
	b.mu.Lock()
	fresh := tasks[:0]
	for _, t := range tasks {
		if flying := b.inFlight[t.place]; flying != nil {
			flying.ackAgain = true
			continue
		}
		b.inFlight[t.place] = t
		fresh = append(fresh, t)
	}
	b.mu.Unlock()
	b.d.InFlight.Add(len(fresh))
	b.d.Metrics.InFlight.Add(float64(len(fresh)))
	for _, t := range fresh {
		if t.bad != nil {
			b.desk.deadLetterEntry(t)
		} else {
			b.d.Start(&t.Task)
		}
	}
}
