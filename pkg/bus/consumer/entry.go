package consumer

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// entryTask is an event of a stream on its way through its subscriptions.
type entryTask struct {
	dispatch.Task
	place

	values map[string]any // the entry's fields
	seen   time.Time      // when it was read, or claimed again
	copied bool           // the second party's delivery
	only   string         // replayed: the subscription that failed; empty: for all
	bad    error          // why it is a dead letter for all subscriptions; nil: it is not
	marked bool           // done markers were written. Only the settler uses it.
	gone   bool           // acknowledged. Only the settler uses it.

	// ackAgain means that Redis handed the entry out again meanwhile. Bus.mu protects it.
	ackAgain bool
}

var errNoEvent = errors.New("the entry is not an event")

// newTask returns the task of an entry. It reads what it can of an entry that is not an event.
func (r *reader) newTask(at place, message redis.XMessage, event streamentry.Event, now time.Time) *entryTask {
	t := &entryTask{place: at, values: message.Values, seen: now, copied: event.SecondParty}
	t.Event = event.Event
	t.Owner = t
	if !event.Valid {
		t.bad = errNoEvent
	}
	return t
}

// parseEntryID reads an entry's id.
func parseEntryID(message redis.XMessage) (streamentry.ID, error) {
	id, ok := streamentry.ParseID([]byte(message.ID))
	if !ok {
		return streamentry.ID{}, resp.ErrProtocol
	}
	return id, nil
}
