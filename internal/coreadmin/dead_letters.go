package coreadmin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

// DeadLetter is the JSON form of a dead letter, in the admin API and in `core dead-letters`.
type DeadLetter struct {
	ID         string            `json:"id"`
	Group      string            `json:"group"`
	Subscriber string            `json:"subscriber"` // empty if the entry is not an event
	Error      string            `json:"error"`
	Attempts   int               `json:"attempts"`
	FailedAt   string            `json:"failedAt"`
	EventID    string            `json:"eventId"`
	EventType  string            `json:"eventType"`
	Account    string            `json:"account"`
	Event      json.RawMessage   `json:"event,omitempty"` // the JSON of the event; absent if the entry has none
	Entry      map[string]string `json:"entry"`           // the other fields of the stream entry
}

// NewDeadLetter returns the JSON form of a dead letter. It may remove a field from l.Fields.
func NewDeadLetter(l *bus.DeadLetter) DeadLetter {
	d := DeadLetter{
		ID:         l.ID,
		Group:      l.Group,
		Subscriber: l.Subscriber,
		Error:      l.Error,
		Attempts:   l.Attempts,
		FailedAt:   l.FailedAt.UTC().Format(bus.TimeFormat),
		EventID:    l.Event.ID,
		EventType:  l.Event.Type,
		Account:    l.Event.Account,
		Entry:      l.Fields,
	}
	if json.Valid(l.Event.Data) {
		d.Event = l.Event.Data
		delete(d.Entry, "data")
	}
	return d
}

// ErrUnknownLetter means that an id cannot be the id of a dead letter of the group.
var ErrUnknownLetter = errors.New("after must be the id of a dead letter of the group")

// ListDeadLetters lists the dead letters of a group, or those of all groups if group is empty, one
// group after the other. It starts after the letter with the id after, and returns at most limit
// letters.
func ListDeadLetters(
	ctx context.Context, rdb redis.UniversalClient, keys bus.Keys, group, after string, limit int,
) ([]DeadLetter, error) {
	groups := []string{group}
	if group == "" {
		var err error
		groups, err = consumer.Groups(ctx, rdb, keys)
		if err != nil {
			return nil, err
		}
	}

	firstGroup := consumer.LetterGroup(after)
	isOtherGroup := group != "" && firstGroup != group
	if after != "" && (firstGroup == "" || isOtherGroup) {
		return nil, ErrUnknownLetter
	}

	letters := []DeadLetter{}
	for _, g := range groups {
		if g < firstGroup || len(letters) == limit {
			continue
		}
		if g > firstGroup {
			after = ""
		}

		list, err := consumer.OpenDeadLetters(rdb, keys, g).List(ctx, after, limit-len(letters))
		if err != nil {
			return nil, err
		}
		for i := range list {
			letters = append(letters, NewDeadLetter(&list[i]))
		}
	}
	return letters, nil
}

const (
	defaultLetters = 100
	maxLetters     = 1000
)

// deadLetterPage is the answer of GET /admin/dead-letters.
type deadLetterPage struct {
	DeadLetters []DeadLetter `json:"deadLetters"`
	Next        string       `json:"next,omitempty"` // the parameter after of the next page; absent on the last page
}

// listDeadLetters answers with a page of dead letters. Its parameters are group (default: all
// groups), after and limit.
func (a *API) listDeadLetters(w http.ResponseWriter, r *http.Request, query url.Values) *problem.Details {
	n, refusal := httpserver.Number(query, "limit", 1, maxLetters, defaultLetters)
	if refusal != nil {
		return refusal
	}
	limit := int(n)

	group := query.Get("group")
	after := query.Get("after")
	// One more letter than the page shows whether there is a next page.
	letters, err := ListDeadLetters(r.Context(), a.cfg.Redis, a.cfg.Keys, group, after, limit+1)
	if err != nil {
		return a.describeLetterError(err)
	}

	page := deadLetterPage{DeadLetters: letters}
	if len(letters) > limit {
		page.DeadLetters = letters[:limit]
		page.Next = letters[limit-1].ID
	}
	httpserver.WriteJSON(w, http.StatusOK, page)
	return nil
}

// replayDeadLetter passes the event of a dead letter to its subscription again.
func (a *API) replayDeadLetter(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	id := r.PathValue("id")
	letters := consumer.OpenDeadLetters(a.cfg.Redis, a.cfg.Keys, consumer.LetterGroup(id))
	err := letters.Replay(r.Context(), id)
	if err != nil {
		return a.describeLetterError(err)
	}
	httpserver.WriteJSON(w, http.StatusOK, map[string]any{"id": id, "replayed": true})
	return nil
}

// describeLetterError returns the problem for the client. It logs errors of Redis.
func (a *API) describeLetterError(err error) *problem.Details {
	switch {
	case errors.Is(err, bus.ErrNoDeadLetter):
		return problem.New(http.StatusNotFound, "dead_letter_not_found", "Dead letter not found", err.Error())
	case errors.Is(err, ErrUnknownLetter):
		return httpserver.Invalid("/after", err.Error())
	}

	a.cfg.Logger.Error("reading dead letters failed", "error", err)
	d := problem.New(http.StatusServiceUnavailable, "unavailable", "Redis unavailable",
		"Redis did not answer; the server log has the cause")
	d.RetryAfter = 2
	return d
}
