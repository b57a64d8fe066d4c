package consumer

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// groupStream is a stream that the group reads: the events of a partition, or its replayed dead
// letters.
type groupStream struct {
	partition int
	key       string
	replay    bool
}

// entryRef identifies a stream entry.
type entryRef struct {
	stream int // index in Bus.streams
	id     streamentry.ID
}

// entryTask is a stream entry that is being handled by its subscriptions.
type entryTask struct {
	dispatch.Task
	entryRef

	values      map[string]any // the entry's fields
	claimedAt   time.Time      // when the entry was read or claimed last
	secondParty bool           // the entry is the second party's delivery
	replayedFor string         // subscription of a replayed dead letter; empty: all subscriptions
	deadReason  error          // why the entry becomes a dead letter without being handled; nil: it is handled

	// Only the acknowledger uses these.
	hasMarker    bool // done markers were written
	acknowledged bool

	// ackAgain is true if Redis handed the entry out again while it was in flight. Bus.mu protects
	// it.
	ackAgain bool
}

var errNoEvent = errors.New("the entry is not an event")

// newTask returns the task of an entry. Of an entry that is not an event it reads the valid fields.
func (r *reader) newTask(ref entryRef, message redis.XMessage, event streamentry.Event, now time.Time) *entryTask {
	t := &entryTask{
		entryRef:    ref,
		values:      message.Values,
		claimedAt:   now,
		secondParty: event.SecondParty,
	}

	t.Event = event.Event
	t.Owner = t
	if !event.Valid {
		t.deadReason = errNoEvent
	}

	return t
}

// parseEntryID returns an entry's id.
func parseEntryID(message redis.XMessage) (streamentry.ID, error) {
	id, ok := streamentry.ParseID([]byte(message.ID))
	if !ok {
		return streamentry.ID{}, resp.ErrProtocol
	}
	return id, nil
}
