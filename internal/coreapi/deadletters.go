package coreapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// DeadLetter is a dead letter as programs get it, over HTTP and from core dead-letters.
type DeadLetter struct {
	ID         string            `json:"id"`
	Group      string            `json:"group"`
	Subscriber string            `json:"subscriber"` // empty: the entry itself is no event
	Error      string            `json:"error"`
	Attempts   int               `json:"attempts"`
	FailedAt   string            `json:"failedAt"`
	EventID    string            `json:"eventId"`
	EventType  string            `json:"eventType"`
	Account    string            `json:"account"`
	Event      json.RawMessage   `json:"event,omitempty"` // the event's JSON; absent when the entry has none
	Entry      map[string]string `json:"entry"`           // the stream entry's fields but for event
}

// ShapeDeadLetter shapes one.
func ShapeDeadLetter(l *bus.DeadLetter) DeadLetter {
	d := DeadLetter{
		ID: l.ID, Group: l.Group, Subscriber: l.Subscriber, Error: l.Error, Attempts: l.Attempts,
		FailedAt: l.FailedAt.UTC().Format(bus.TimeFormat), EventID: l.Event.ID, EventType: l.Event.Type, Account: l.Event.Account,
		Entry: l.Fields,
	}
	if json.Valid(l.Event.Data) {
		d.Event = l.Event.Data
		delete(d.Entry, "data")
	}
	return d
}

// ListDeadLetters lists a group's dead letters, or all groups' when group is empty,
// one group after the other: those after the one with the given id, at most limit.
func ListDeadLetters(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys, group, after string, limit int) ([]DeadLetter, error) {
	groups := []string{group}
	if group == "" {
		var err error
		if groups, err = consumer.ConsumerGroups(ctx, rdb, keys); err != nil {
			return nil, err
		}
	}
	from := consumer.LetterGroup(after)
	if after != "" && (from == "" || (group != "" && from != group)) {
		return nil, malformed("/after", "after is a dead letter's id, of the group that is asked for")
	}
	letters := []DeadLetter{}
	for _, g := range groups {
		if g < from || len(letters) == limit {
			continue
		}
		if g > from {
			after = ""
		}
		list, err := consumer.OpenDeadLetters(rdb, keys, g).List(ctx, after, limit-len(letters))
		if err != nil {
			return nil, err
		}
		for i := range list {
			letters = append(letters, ShapeDeadLetter(&list[i]))
		}
	}
	return letters, nil
}

// DeadLetters are the handlers of GET /admin/dead-letters, to be Queried with the parameters of
// List, and POST /admin/dead-letters/{id}/replay.
type DeadLetters struct {
	Redis  redis.UniversalClient
	Keys   bus.Keys
	Logger *slog.Logger
}

// List answers {"deadLetters":[…],"next":"…"}: next is the after of the next page,
// absent on the last. Query: group (absent: all), after, limit (1 to 1000, by default 100).
func (h *DeadLetters) List(w http.ResponseWriter, r *http.Request) {
	q := query{values: r.URL.Query()}
	limit := q.limit()
	if q.err != nil {
		h.refuse(w, q.err)
		return
	}
	letters, err := ListDeadLetters(r.Context(), h.Redis, h.Keys, q.get("group"), q.get("after"), limit+1)
	if err != nil {
		h.refuse(w, err)
		return
	}
	out := struct {
		DeadLetters []DeadLetter `json:"deadLetters"`
		Next        string       `json:"next,omitempty"`
	}{DeadLetters: letters}
	if len(letters) > limit {
		out.DeadLetters, out.Next = letters[:limit], letters[limit-1].ID
	}
	httpserver.WriteJSON(w, http.StatusOK, out)
}

// Replay hands a dead letter back to its group.
func (h *DeadLetters) Replay(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if err := consumer.OpenDeadLetters(h.Redis, h.Keys, consumer.LetterGroup(id)).Replay(r.Context(), id); err != nil {
		h.refuse(w, err)
		return
	}
	httpserver.WriteJSON(w, http.StatusOK, map[string]any{"id": id, "replayed": true})
}

func (h *DeadLetters) refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, bus.ErrNoDeadLetter):
		problem.Write(w, problem.New(http.StatusNotFound, "dead_letter_not_found", "Dead letter not found", err.Error()))
	case errors.Is(err, wallet.ErrInvalid):
		problem.Write(w, describe(err))
	default:
		h.Logger.Error("dead letters", "err", err)
		d := problem.New(http.StatusServiceUnavailable, "unavailable", "Redis unavailable", "Redis did not answer; the log tells why")
		d.RetryAfter = 2
		problem.Write(w, d)
	}
}
