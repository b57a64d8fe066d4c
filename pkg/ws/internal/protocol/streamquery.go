package protocol

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// lastEventID is the header in which a browser returns the id of the last event that it received.
// Clients that cannot set headers send it as a query parameter of this name or of the other one.
const (
	lastEventID      = "Last-Event-ID"
	lastEventIDParam = "lastEventId"
)

// A StreamQuery is the parsed query of a request for an event stream.
type StreamQuery struct {
	Token     string      // access_token; empty when absent
	Subscribe ClientFrame // without After and Chain, which SetAfter fills

	after  string // the parameter after; empty when absent
	lastID string // the id of the last event that the client received; empty when absent
}

// A QueryError says why a query is refused.
type QueryError struct {
	Parameter string // the invalid parameter; empty for the whole query
	Detail    string
}

// ParseStreamQuery parses the query parameters, which are the members of a subscribe frame. It
// refuses unknown parameters, so that a misspelled filter is never a subscription without a filter.
func ParseStreamQuery(r *http.Request) (*StreamQuery, *QueryError) {
	parameters, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &QueryError{Detail: "the query must be valid URL encoding"}
	}

	sub := StreamSub
	q := &StreamQuery{Subscribe: ClientFrame{Op: OpSubscribe, Sub: &sub}}
	for name, values := range parameters {
		problem := q.setParameter(name, values)
		if problem != "" {
			return nil, &QueryError{Parameter: name, Detail: problem}
		}
	}

	// A client may keep the URL of an earlier request, so the header is newer than the parameters.
	id := r.Header.Get(lastEventID)
	if id != "" {
		q.lastID = id
	}

	return q, nil
}

// setParameter sets the field of one parameter. It returns an error text, or "".
func (q *StreamQuery) setParameter(name string, values []string) (problem string) {
	list := q.listField(name)
	if list != nil {
		*list = strings.Split(strings.Join(values, ","), ",")
		return ""
	}

	if len(values) > 1 {
		return "the parameter must be given only once"
	}

	value := values[0]
	switch name {
	case "minAmount":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "minAmount must be an integer"
		}

		q.Subscribe.MinAmount = &n
	case "snapshot":
		if value != "true" && value != "false" {
			return "snapshot must be true or false"
		}

		snapshot := value == "true"
		q.Subscribe.Snapshot = &snapshot
	case "after":
		q.after = value
	case lastEventID, lastEventIDParam:
		bothDiffer := q.lastID != "" && value != "" && q.lastID != value
		if bothDiffer {
			return lastEventID + " and " + lastEventIDParam + " must be equal if both are given"
		}

		q.lastID = cmp.Or(q.lastID, value)
	case "access_token":
		q.Token = value
	default:
		return "unknown parameter"
	}

	return ""
}

// listField returns the field of a list parameter. It returns nil for other parameters.
func (q *StreamQuery) listField(name string) *[]string {
	switch name {
	case "accounts":
		return &q.Subscribe.Accounts
	case "types":
		return &q.Subscribe.Types
	case "reasons":
		return &q.Subscribe.Reasons
	case "features":
		return &q.Subscribe.Features
	}

	return nil
}

// SetAfter sets Subscribe.After and Subscribe.Chain from the position in the request, if there is
// one. It returns an error text, or "".
//
// The client's library sends the id of the last event by itself, and that is newer than after. The
// id may name accounts that the client no longer subscribes to. SetAfter ignores them.
func (q *StreamQuery) SetAfter(accounts []string) (problem string) {
	position := cmp.Or(q.lastID, q.after)
	if position == "" {
		return ""
	}

	after, ok := ParsePosition(position, accounts)
	switch {
	case ok:
	case q.lastID != "":
		return lastEventID + " must be an event id of this stream"
	default:
		return "after must be an event id of this stream"
	}

	if q.lastID != "" {
		maps.DeleteFunc(after, func(account string, _ Point) bool {
			return !slices.Contains(accounts, account)
		})
	}

	q.Subscribe.After = map[string]int64{}
	q.Subscribe.Chain = map[string]bus.Chain{}
	for account, point := range after {
		q.Subscribe.After[account] = point.Seq
		if point.HasChain {
			q.Subscribe.Chain[account] = point.Chain
		}
	}

	return ""
}
