package consumer

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
)

// maxDeadLetters is about how many dead letters a partition keeps for a group.
const maxDeadLetters = 100_000

// letterFields are the fields that a dead letter adds to the fields of its entry.
var letterFields = []string{"subscriber", "error", "attempts", "failedAt"}

// newLetter is a dead letter to be written.
type newLetter struct {
	task         *entryTask
	subscriber   *dispatch.Subscriber // nil: the entry is not an event and is acknowledged with its letter
	subscription string
	error        string
	attempts     int
	failedAt     time.Time
}

// deadLetter writes a dead letter for a subscription that failed to handle the event.
func (a *acknowledger) deadLetter(t *dispatch.Task, sub *dispatch.Subscriber, attempts int, cause error) {
	a.addLetter(newLetter{
		task:         entryOf(t),
		subscriber:   sub,
		subscription: sub.ID,
		error:        dispatch.ErrorText(cause),
		attempts:     attempts,
	})
}

// deadLetterEntry writes a dead letter for an entry that is not handled at all.
func (a *acknowledger) deadLetterEntry(t *entryTask) {
	a.b.d.Metrics.Dead.WithLabelValues(metrics.OtherTypes, t.replayedFor).Inc()
	a.b.d.LogLimit.Do(func() {
		a.b.cfg.Logger.Error("a stream entry became a dead letter",
			"stream", a.b.streams[t.stream].key, "entry", t.id.String(), "error", t.deadReason)
	})

	a.addLetter(newLetter{
		task:         t,
		subscription: t.replayedFor,
		error:        dispatch.ErrorText(t.deadReason),
	})
}

func (a *acknowledger) addLetter(l newLetter) {
	l.failedAt = time.Now()
	a.addResults(func(r *results) { r.letters = append(r.letters, l) })
}

// writeLetters writes letters. It returns the ones to be retried.
func (a *acknowledger) writeLetters(ctx context.Context, letters []newLetter) (failed []newLetter) {
	for _, l := range letters {
		err := a.writeLetter(ctx, l)
		if err != nil {
			a.reportError("dead letter", err)
			failed = append(failed, l)
			continue
		}

		if l.subscriber == nil {
			a.endTasks([]*entryTask{l.task})
		} else {
			l.task.hasMarker = true
			a.b.d.EndSubscriber(&l.task.Task, l.subscriber)
		}
	}

	return failed
}

// writeLetter writes a letter. In the same transaction it marks the subscription as done, or
// acknowledges the entry if no subscription handles it.
func (a *acknowledger) writeLetter(ctx context.Context, l newLetter) error {
	stream := a.b.streams[l.task.stream]
	pipe := a.b.rdb.TxPipeline()
	pipe.XAdd(ctx, &redis.XAddArgs{
		Stream: a.b.cfg.Keys.Dead(stream.partition, a.b.cfg.Group),
		MaxLen: maxDeadLetters,
		Approx: true,
		Values: l.fieldValues(),
	})

	if l.subscriber != nil {
		a.addMarker(ctx, pipe, doneMarker{l.task, l.subscription})
	} else {
		id := l.task.id.String()
		pipe.XAck(ctx, stream.key, a.b.cfg.Group, id)
		if stream.replay {
			pipe.XDel(ctx, stream.key, id)
		}
	}

	_, err := pipe.Exec(ctx)
	return err
}

// fieldValues returns the names and values of the entry's fields and of letterFields.
func (l *newLetter) fieldValues() []string {
	values := make([]string, 0, 2*(len(l.task.values)+len(letterFields)))
	for name, value := range l.task.values {
		if !slices.Contains(letterFields, name) {
			text, _ := value.(string)
			values = append(values, name, text)
		}
	}

	return append(values,
		"subscriber", l.subscription,
		"error", l.error,
		"attempts", strconv.Itoa(l.attempts),
		"failedAt", l.failedAt.UTC().Format(bus.TimeFormat))
}
