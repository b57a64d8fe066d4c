package play

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/match"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/server"
)

// A channel is the reports about one thing. They are compared in order.
type channel struct{ about, of string }

// kinds are the kinds of reports. A level is a state of which only the newest value matters.
var kinds = map[string]struct {
	about string
	of    string // the member that tells the channels apart
	level bool
}{
	"state":    {"state", "client", true},
	"token":    {"token", "client", false},
	"balance":  {"balance", "as", true},
	"event":    {"subscription", "as", false},
	"resync":   {"subscription", "as", false},
	"error":    {"subscription", "as", false},
	"uncaught": {"uncaught", "client", false},
}

func channelOf(kind string, report map[string]any) channel {
	of, ok := report[kinds[kind].of].(string)
	if !ok {
		of = "a"
	}
	return channel{kinds[kind].about, of}
}

// An inbox collects what the client did and the app saw, until the scenario's steps take it.
type inbox struct {
	mu       sync.Mutex
	changed  chan struct{} // closed at the next change
	count    int           // of all changes
	failure  error
	requests []*server.Request
	frames   map[*server.Conn][]any
	closed   map[*server.Conn]*server.Closed
	reports  map[channel][]map[string]any
	newest   map[channel]map[string]any
}

func newInbox() *inbox {
	return &inbox{
		changed: make(chan struct{}),
		frames:  map[*server.Conn][]any{},
		closed:  map[*server.Conn]*server.Closed{},
		reports: map[channel][]map[string]any{},
		newest:  map[channel]map[string]any{},
	}
}

// change calls a function with the lock and wakes those who wait.
func (b *inbox) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.count++
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *inbox) addNote(n server.Note) {
	b.change(func() {
		switch {
		case n.Request != nil:
			b.requests = append(b.requests, n.Request)
		case n.Closed != nil:
			b.closed[n.Conn] = n.Closed
		default:
			b.frames[n.Conn] = append(b.frames[n.Conn], n.Frame)
		}
	})
}

// addReport adds a report. A level that is reported twice is no news.
func (b *inbox) addReport(report map[string]any) {
	kind, _ := report["report"].(string)
	if _, known := kinds[kind]; !known {
		b.fail(errors.New("the adapter sent a report of an unknown kind: " + match.Text(report)))
		return
	}
	c := channelOf(kind, report)
	b.change(func() {
		repeated := kinds[kind].level && sameLevel(b.newest[c], report)
		b.newest[c] = report
		if !repeated {
			b.reports[c] = append(b.reports[c], report)
		}
	})
}

func (b *inbox) fail(err error) {
	b.change(func() {
		if b.failure == nil {
			b.failure = err
		}
	})
}

// sameLevel compares two reports without the members that depend on the time of the report.
func sameLevel(a, b map[string]any) bool {
	return reflect.DeepEqual(withoutTimes(a), withoutTimes(b))
}

func withoutTimes(report map[string]any) map[string]any {
	copied := maps.Clone(report)
	value, ok := copied["value"].(map[string]any)
	if ok {
		value = maps.Clone(value)
		delete(value, "staleForMs")
		copied["value"] = value
	}
	return copied
}

// errTimeout is the error of a step that waited in vain.
var errTimeout = errors.New("it did not happen in time")

// wait calls a function with the lock after every change until it is done or fails.
func (b *inbox) wait(ctx context.Context, f func() (done bool, err error)) error {
	for {
		b.mu.Lock()
		done, err := f()
		if b.failure != nil {
			err = b.failure
		}
		changed := b.changed
		b.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errTimeout
		}
	}
}

// state returns the number of changes and the newest report of a channel.
func (b *inbox) state(c channel) (count int, newest map[string]any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count, b.newest[c]
}

// leftOver describes everything that no step has taken.
func (b *inbox) leftOver(nameOf func(*server.Conn) string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	if b.failure != nil {
		all = append(all, b.failure.Error())
	}
	for _, r := range b.requests {
		all = append(all, "a request: "+match.Text(r.Describe()))
	}
	for conn, frames := range b.frames {
		for _, f := range frames {
			all = append(all, "a frame on "+nameOf(conn)+": "+match.Text(f))
		}
	}
	for conn, closed := range b.closed {
		all = append(all, "the client closed "+nameOf(conn)+": "+match.Text(closed))
	}
	for _, reports := range b.reports {
		for _, r := range reports {
			all = append(all, "the app saw "+match.Text(r))
		}
	}
	slices.Sort(all)
	return all
}
