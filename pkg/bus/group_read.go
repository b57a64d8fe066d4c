package bus

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/retry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

const (
	groupBlock  = 250 * time.Millisecond // how long a read waits; Close waits as long
	replayPause = 250 * time.Millisecond // between two looks for replayed dead letters
	maxCount    = 1000                   // entries of one stream in one read
)

// groupReader reads some of the parts with one call at a time.
type groupReader struct {
	b      *Redis
	parts  []int // places in Redis.parts
	replay bool  // they are looked at now and then
	byName map[string]int
	sink   resp.Sink
	words  entries
	args   []any // of XREADGROUP; count is at argCount, the last len(parts) are ids

	complain  rate.Sometimes
	grouped   bool // the groups are there
	regrouped bool // they were there before: what comes after a loss is read from its start
	checked   bool // what this consumer had before is read again
	claimed   time.Time
}

const argCount = 5

// readers are one for all streams of events and one for all that replay, or one for
// each partition on a cluster, where a call cannot span slots.
func (b *Redis) readers() []*groupReader {
	var readers []*groupReader
	half := len(b.parts) / 2
	share := half
	if _, ok := b.rdb.(*redis.ClusterClient); ok {
		share = 1
	}
	for i := 0; i < len(b.parts); i += share {
		r := &groupReader{
			b: b, replay: i >= half, byName: map[string]int{},
			complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
		}
		r.args = []any{"xreadgroup", "group", b.cfg.Group, b.cfg.Consumer, "count", 0}
		if !r.replay {
			r.args = append(r.args, "block", groupBlock.Milliseconds())
		}
		r.args = append(r.args, "streams")
		for n := i; n < i+share; n++ {
			r.parts = append(r.parts, n)
			r.byName[b.parts[n].stream] = n
			r.args = append(r.args, b.parts[n].stream)
		}
		for range share {
			r.args = append(r.args, ">")
		}
		readers = append(readers, r)
	}
	return readers
}

// run is one attempt after the other, until ctx ends. The error is ErrLayout.
func (r *groupReader) run(ctx context.Context) error {
	wait := retry.NewBackoff(2 * time.Second)
	for ctx.Err() == nil {
		err := r.step(ctx)
		switch {
		case err == nil:
			wait.Reset()
			if r.replay {
				retry.Sleep(ctx, replayPause)
			}
		case errors.Is(err, ErrLayout):
			return err
		case ctx.Err() == nil:
			r.failed(ctx, err)
			retry.Sleep(ctx, wait.NextBackOff())
		}
	}
	return nil
}

func (r *groupReader) failed(ctx context.Context, err error) {
	r.checked = false // the reply may have been lost on its way
	if strings.HasPrefix(err.Error(), "NOGROUP") {
		r.grouped = false
	}
	if cluster, ok := r.b.rdb.(*redis.ClusterClient); ok && redirected(err) {
		cluster.ReloadState(ctx)
	}
	r.b.d.metrics.group.errors.Inc()
	r.complain.Do(func() {
		r.b.cfg.Logger.Warn("reading events fails, trying again", "group", r.b.cfg.Group, "error", err)
	})
}

func (r *groupReader) step(ctx context.Context) error {
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
	free, err := r.b.d.inFlight.room(ctx, max(1, r.b.cfg.MaxInFlight-len(r.parts)+1))
	if err != nil {
		return nil //nolint:nilerr // ctx ended
	}
	r.args[argCount] = min(max(1, (free+len(r.parts)-1)/len(r.parts)), maxCount)
	raw, err := r.raw(ctx, r.args...)
	if err != nil {
		return err
	}
	return r.take(raw)
}

// group makes sure that the groups are there, and before the first time that the streams are those
// that publishers write.
func (r *groupReader) group(ctx context.Context) error {
	if !r.regrouped {
		if err := CheckLayout(ctx, r.b.rdb, r.b.cfg.Keys); err != nil {
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

// raw returns the reply as Redis sent it, until the next call.
func (r *groupReader) raw(ctx context.Context, args ...any) (resp.Cursor, error) {
	r.sink.Reset()
	if err := r.b.rdb.Process(ctx, redis.NewRawWriteToCmd(ctx, &r.sink, args...)); err != nil {
		return resp.Cursor{}, err
	}
	return resp.Cursor{B: r.sink.B}, nil
}

// take hands on what a read found.
func (r *groupReader) take(raw resp.Cursor) error {
	now := time.Now()
	var tasks []*task
	streams, isMap := raw.ReadArray()
	for range streams {
		if !isMap {
			raw.ReadArray() // of key and entries
		}
		n, ok := r.byName[string(raw.ReadString())]
		if raw.Err == nil && !ok {
			return resp.ErrProtocol
		}
		count, _ := raw.ReadArray()
		for range count {
			if t, _ := r.one(&raw, n, now); t != nil {
				tasks = append(tasks, t)
			}
		}
	}
	if raw.Err != nil {
		return raw.Err
	}
	r.b.admit(tasks)
	return nil
}

// one reads an entry and makes it a task. What no subscription wants is settled here.
func (r *groupReader) one(raw *resp.Cursor, n int, now time.Time) (*task, streamentry.ID) {
	var f found
	f.next(raw)
	b, m := r.b, r.b.d.metrics
	switch {
	case raw.Err != nil:
		return nil, f.id
	case f.raw == nil:
		m.group.trimmed.Inc()
		b.desk.ack(place{part: n, id: f.id})
		return nil, f.id
	case f.isCopy() && !b.cfg.Copies && !b.parts[n].replay:
		b.desk.ack(place{part: n, id: f.id})
		return nil, f.id
	}
	kind := f.text(f.raw, fieldType)
	plan := b.d.planFor(kind)
	if len(plan) == 0 && word(kind, maxType) && !b.parts[n].replay {
		m.noSubscribers.WithLabelValues(m.labels.Of(r.words.word(f.value(f.raw, fieldType)))).Inc()
		b.desk.ack(place{part: n, id: f.id})
		return nil, f.id
	}
	t := f.task(n, &r.words, now)
	t.plan = plan
	if who := f.text(t.raw, fieldSubscriber); b.parts[n].replay && word(who, maxName) {
		t.replayFor(who, b.d.subscriber(who))
	}
	return t, f.id
}

// replayFor leaves the event to the one subscription that failed.
func (t *task) replayFor(who string, s *subscriber) {
	t.only = who
	if s != nil {
		t.plan = plan{{s}}
	} else if t.bad == nil {
		t.bad = errors.New("the subscription of this dead letter is not there any more")
	}
}

// admit starts events, except those that are under way already: these are acknowledged once more, since Redis may have
// handed them out again after it was told that they are done and before that was known here. Those that are to be dead
// letters are under way until Redis has the letter.
func (b *Redis) admit(tasks []*task) {
	if len(tasks) == 0 {
		return
	}
	b.mu.Lock()
	fresh := tasks[:0]
	for _, t := range tasks {
		if flying := b.flying[t.place]; flying != nil {
			flying.ackAgain = true
			continue
		}
		b.flying[t.place] = t
		fresh = append(fresh, t)
	}
	b.mu.Unlock()
	b.d.inFlight.add(len(fresh))
	b.d.metrics.inFlight.Add(float64(len(fresh)))
	for _, t := range fresh {
		if t.bad != nil {
			b.desk.buryEntry(t)
		} else {
			b.d.start(t)
		}
	}
}
