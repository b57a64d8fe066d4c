package consumer

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// A settler tells Redis what became of entries: acknowledged, handled by some
// subscriptions and not yet by others, dead. It gathers for a moment and sends what
// there is in one pipeline; what fails is sent again.
//
// An event that all subscriptions finish within that moment costs an XACK and no
// marker.
type settler struct {
	b        *Bus
	complain rate.Sometimes

	mu   sync.Mutex // protects open
	open settlement
	kick chan struct{} // holds something when open does
}

// settlement is what is to be told.
type settlement struct {
	acks    []place      // without a task
	done    []*entryTask // to be acknowledged
	marks   []mark
	letters []letter
}

// mark says that a subscription is through with an event.
type mark struct {
	t          *entryTask
	subscriber string
}

// letter is a dead letter to be written.
type letter struct {
	t          *entryTask
	s          *dispatch.Subscriber // nil: the entry is no event, and is acknowledged with its letter
	subscriber string
	error      string
	attempts   int
	failedAt   time.Time
}

const (
	gather    = 2 * time.Millisecond
	maxDead   = 100_000 // letters that a partition keeps for a group, about
	maxAcks   = 4096    // entries in one XACK
	redisWait = 5 * time.Second
)

func newSettler(b *Bus) *settler {
	return &settler{b: b, kick: make(chan struct{}, 1), complain: rate.Sometimes{First: 1, Interval: 10 * time.Second}}
}

func (s *settler) add(f func(*settlement)) {
	s.mu.Lock()
	f(&s.open)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *settler) ack(p place) { s.add(func(o *settlement) { o.acks = append(o.acks, p) }) }

func (s *settler) finished(t *dispatch.Task) {
	s.add(func(o *settlement) { o.done = append(o.done, entryOf(t)) })
}

// entryOf returns the stream entry that a dispatcher's task was made of.
func entryOf(t *dispatch.Task) *entryTask { return t.Owner.(*entryTask) }

func (s *settler) subscriberDone(t *dispatch.Task, sub *dispatch.Subscriber) {
	s.add(func(o *settlement) { o.marks = append(o.marks, mark{entryOf(t), sub.ID}) })
}

func (s *settler) deadLetter(t *dispatch.Task, sub *dispatch.Subscriber, attempts int, cause error) {
	s.letter(letter{t: entryOf(t), s: sub, subscriber: sub.ID, error: dispatch.ErrorText(cause), attempts: attempts})
}

// deadLetterEntry writes a letter about an entry that is bad.
func (s *settler) deadLetterEntry(t *entryTask) {
	s.b.d.Metrics.Dead.WithLabelValues(metrics.OtherTypes, t.only).Inc()
	s.b.d.LogLimit.Do(func() {
		s.b.cfg.Logger.Error("a stream entry became a dead letter", "stream", s.b.parts[t.part].stream, "entry", t.id.String(), "error", t.bad)
	})
	s.letter(letter{t: t, subscriber: t.only, error: dispatch.ErrorText(t.bad)})
}

func (s *settler) letter(l letter) {
	l.failedAt = time.Now()
	s.add(func(o *settlement) { o.letters = append(o.letters, l) })
}

// run settles until ctx ends, and once more.
func (s *settler) run(ctx context.Context) error {
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			s.settle(context.WithoutCancel(ctx))
			return nil
		}
		wait.Sleep(ctx, gather)
		if !s.settle(context.WithoutCancel(ctx)) {
			wait.Sleep(ctx, 100*time.Millisecond)
		}
	}
}

// settle sends all there is; false: some of it failed and is there again.
func (s *settler) settle(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, redisWait)
	defer cancel()
	s.mu.Lock()
	now := s.open
	s.open = settlement{}
	s.mu.Unlock()

	again := settlement{letters: s.writeLetters(ctx, now.letters)}
	again.marks = s.writeMarks(ctx, now.marks)
	again.acks, again.done = s.writeAcks(ctx, now.acks, now.done)
	if len(again.letters)+len(again.marks)+len(again.acks)+len(again.done) == 0 {
		return true
	}
	s.add(func(o *settlement) {
		o.acks = append(again.acks, o.acks...)
		o.done = append(again.done, o.done...)
		o.marks = append(again.marks, o.marks...)
		o.letters = append(again.letters, o.letters...)
	})
	return false
}

func (s *settler) failed(what string, err error) {
	s.b.metrics.errors.Inc()
	s.complain.Do(func() {
		s.b.cfg.Logger.Warn("telling Redis what became of events fails, trying again", "group", s.b.cfg.Group, "what", what, "error", err)
	})
}

// writeLetters writes each letter and, in the same transaction, that its subscription
// is through. It returns those that failed.
func (s *settler) writeLetters(ctx context.Context, letters []letter) (again []letter) {
	for _, l := range letters {
		p := s.b.parts[l.t.part]
		pipe := s.b.rdb.TxPipeline()
		pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: s.b.cfg.Keys.Dead(p.partition, s.b.cfg.Group), MaxLen: maxDead, Approx: true, Values: l.values(),
		})
		if l.s == nil {
			s.ackOne(ctx, pipe, p, l.t.id)
		} else {
			s.mark(ctx, pipe, mark{l.t, l.subscriber})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			s.failed("dead letter", err)
			again = append(again, l)
			continue
		}
		if l.s == nil {
			s.forget([]*entryTask{l.t})
		} else {
			l.t.marked = true
			s.b.d.EndSubscriber(&l.t.Task, l.s)
		}
	}
	return again
}

// values are the entry's fields and what went wrong.
func (l *letter) values() []string {
	values := make([]string, 0, 2*len(l.t.values)+8)
	for name, value := range l.t.values {
		if !isLetterField(name) {
			text, _ := value.(string)
			values = append(values, name, text)
		}
	}
	return append(values, "subscriber", l.subscriber, "error", l.error,
		"attempts", strconv.Itoa(l.attempts), "failedAt", l.failedAt.UTC().Format(bus.TimeFormat))
}

// isLetterField reports whether a dead letter adds the field to its entry's.
func isLetterField(name string) bool {
	switch name {
	case "subscriber", "error", "attempts", "failedAt":
		return true
	}
	return false
}

func (s *settler) ackOne(ctx context.Context, pipe redis.Pipeliner, p part, id streamentry.ID) {
	pipe.XAck(ctx, p.stream, s.b.cfg.Group, id.String())
	if p.replay {
		pipe.XDel(ctx, p.stream, id.String())
	}
}

func (s *settler) doneKey(t *entryTask) string {
	event := t.Event.ID
	if t.copied { // both parties' deliveries may be in one partition
		event += ":copy"
	}
	return s.b.cfg.Keys.Done(s.b.parts[t.part].partition, s.b.cfg.Group, event)
}

func (s *settler) mark(ctx context.Context, pipe redis.Pipeliner, m mark) {
	key := s.doneKey(m.t)
	pipe.SAdd(ctx, key, m.subscriber)
	pipe.PExpire(ctx, key, s.b.cfg.DoneTTL)
}

// writeMarks notes which subscriptions are through with events that others are not.
func (s *settler) writeMarks(ctx context.Context, marks []mark) (again []mark) {
	pipe := s.b.rdb.Pipeline()
	for _, m := range marks {
		if !m.t.gone && m.t.Remaining.Load() > 0 {
			s.mark(ctx, pipe, m)
			m.t.marked = true
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.failed("done markers", err)
		return marks
	}
	return nil
}

// writeAcks acknowledges, and forgets the markers and the tasks.
func (s *settler) writeAcks(ctx context.Context, acks []place, done []*entryTask) ([]place, []*entryTask) {
	if len(acks)+len(done) == 0 {
		return nil, nil
	}
	byPart := make([][]streamentry.ID, len(s.b.parts))
	for _, p := range acks {
		byPart[p.part] = append(byPart[p.part], p.id)
	}
	pipe := s.b.rdb.Pipeline()
	for _, t := range done {
		byPart[t.part] = append(byPart[t.part], t.id)
		if t.marked {
			pipe.Unlink(ctx, s.doneKey(t))
		}
	}
	for n, ids := range byPart {
		for some := range slices.Chunk(ids, maxAcks) {
			s.ackArgs(ctx, pipe, s.b.parts[n], some)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.failed("acknowledge", err)
		return acks, done
	}
	s.forget(done)
	return nil, nil
}

// ackArgs builds XACK with ids in one buffer.
func (s *settler) ackArgs(ctx context.Context, pipe redis.Pipeliner, p part, ids []streamentry.ID) {
	buffer := make([]byte, 0, 41*len(ids)) // two numbers of 20 digits: never grows, the strings point into it
	texts := make([]string, len(ids))
	args := make([]any, 0, 3+len(ids))
	args = append(args, "xack", p.stream, s.b.cfg.Group)
	for i, id := range ids {
		start := len(buffer)
		buffer = strconv.AppendUint(buffer, id.Millis, 10)
		buffer = append(buffer, '-')
		buffer = strconv.AppendUint(buffer, id.Number, 10)
		texts[i] = streamentry.UnsafeString(buffer[start:])
		args = append(args, &texts[i])
	}
	_ = pipe.Process(ctx, redis.NewIntCmd(ctx, args...))
	if p.replay {
		pipe.XDel(ctx, p.stream, texts...)
	}
}

func (s *settler) forget(done []*entryTask) {
	b := s.b
	b.mu.Lock()
	for _, t := range done {
		t.gone = true
		delete(b.inFlight, t.place)
		if t.ackAgain {
			s.ack(t.place)
		}
	}
	b.mu.Unlock()
	b.d.Metrics.InFlight.Sub(float64(len(done)))
	b.d.InFlight.Add(-len(done))
}
