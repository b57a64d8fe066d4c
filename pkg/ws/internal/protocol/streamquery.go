package protocol

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// lastEventID is the header in which a browser returns the id of the last event that it saw.
const lastEventID = "Last-Event-ID"

// A StreamQuery is what a request for an event stream asks for.
type StreamQuery struct {
	Token     string      // access_token; empty: none
	Subscribe ClientFrame // all but After

	position string // empty: none
	source   string // the parameter or header that gave it
}

// A QueryError says what is wrong with a query.
type QueryError struct {
	Parameter string // empty: the whole query
	Detail    string
}

// ParseStreamQuery reads the parameters, which are the members of a subscribe frame. Unknown ones
// are refused, so that a misspelt filter never means everything.
func ParseStreamQuery(r *http.Request) (*StreamQuery, *QueryError) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &QueryError{Detail: "the query is malformed"}
	}
	name := StreamSub
	q := &StreamQuery{Subscribe: ClientFrame{Op: OpSubscribe, Sub: &name}}
	for name, list := range values {
		if wrong := q.set(name, list); wrong != "" {
			return nil, &QueryError{Parameter: name, Detail: wrong}
		}
	}
	// The header is newer than the parameter, with which the client came first.
	if id := r.Header.Get(lastEventID); id != "" {
		q.position = id
		q.source = lastEventID
	}
	return q, nil
}

// set reads one parameter. It returns what is wrong with it.
func (q *StreamQuery) set(name string, list []string) (wrong string) {
	if into := q.list(name); into != nil {
		*into = strings.Split(strings.Join(list, ","), ",")
		return ""
	}
	if len(list) > 1 {
		return "is given more than once"
	}
	value := list[0]
	switch name {
	case "minAmount":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "minAmount is a whole number"
		}
		q.Subscribe.MinAmount = &n
	case "snapshot":
		if value != "true" && value != "false" {
			return "snapshot is true or false"
		}
		wanted := value == "true"
		q.Subscribe.Snapshot = &wanted
	case "after":
		q.position = value
		q.source = name
	case "access_token":
		q.Token = value
	default:
		return "there is no such parameter"
	}
	return ""
}

// list returns the list that a parameter gives. It is nil for a parameter that is no list.
func (q *StreamQuery) list(name string) *[]string {
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

// SetAfter fills Subscribe.After from the position that the client gave, if it gave one. It returns
// what is wrong with it. The position in Last-Event-ID may be of accounts that the client no longer
// asks for: the browser sends it by itself.
func (q *StreamQuery) SetAfter(accounts []string) (wrong string) {
	if q.position == "" {
		return ""
	}
	after, ok := ParsePosition(q.position, accounts)
	if !ok {
		return q.source + " is no id of this stream"
	}
	if q.source == lastEventID {
		maps.DeleteFunc(after, func(account string, _ int64) bool { return !slices.Contains(accounts, account) })
	}
	q.Subscribe.After = after
	return ""
}
