package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func testTypes(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var two, all recorder
	mustSubscribe(t, b, bus.Subscription{ID: "two", Types: []string{"a.one", "a.two"}, Handler: &two})
	mustSubscribe(t, b, bus.Subscription{ID: "all", Handler: &all})
	mustPublish(t, b,
		newEvent("1", "a.one", "user:u"),
		newEvent("2", "a.two", "user:u"),
		newEvent("3", "b.three", "user:u"))
	waitUntil(t, "the events are handled", func() bool { return all.callCount() == 3 && two.callCount() == 2 })
	got := two.callIDs()
	if !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("subscription of two types: got events %v, want 1 and 2", got)
	}
}

func testDuplicates(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var r recorder
	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	withKey := func(id, key string) bus.Event {
		e := newEvent(id, "a", "user:u")
		e.Key = key
		return e
	}

	first := newEvent("1", "a", "user:u")
	oneCall := []bus.Event{first, first, withKey("2", "k"), withKey("3", "k"), withKey("2", "l"), withKey("4", "l")}
	requireStatuses(t, b, oneCall,
		bus.Published, bus.Duplicate, bus.Published, bus.Duplicate, bus.Duplicate, bus.Published)
	laterCall := []bus.Event{first, withKey("5", "k")}
	requireStatuses(t, b, laterCall, bus.Duplicate, bus.Duplicate)
	withoutID := []bus.Event{newEvent("", "a", "user:u"), newEvent("", "a", "user:u")}
	requireStatuses(t, b, withoutID, bus.Published, bus.Published)

	waitUntil(t, "the events are handled", func() bool { return r.callCount() == 5 })
	mustClose(t, b)
	requireCalls(t, "s", &r, 5)
	got := r.callIDs()
	if !slices.Equal(got[:3], []string{"1", "2", "4"}) {
		t.Errorf("got events %v, want 1, 2 and 4 first", got)
	}

	if got[3] == "" || got[3] == got[4] {
		t.Errorf("events without an id: got ids %q and %q, want different ones", got[3], got[4])
	}
}

func testDuplicatesAllowed(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.AllowDuplicates = true
	b, _ := newBus(t, cfg)
	var r recorder
	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	e := newEvent("1", "a", "user:u")
	requireStatuses(t, b, []bus.Event{e, e}, bus.Published, bus.Published)
	waitUntil(t, "both are handled", func() bool { return r.callCount() == 2 })
}

func testInvalidEvents(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var r recorder
	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	valid := newEvent("valid", "a", "user:u")
	tests := map[string]func(*bus.Event){
		"long id":            func(e *bus.Event) { e.ID = strings.Repeat("x", 256) },
		"space in the id":    func(e *bus.Event) { e.ID = "a b" },
		"no type":            func(e *bus.Event) { e.Type = "" },
		"space in the type":  func(e *bus.Event) { e.Type = "a b" },
		"newline in account": func(e *bus.Event) { e.Account = "user:\n" },
		"long key":           func(e *bus.Event) { e.Key = strings.Repeat("x", 256) },
		"newline in trace":   func(e *bus.Event) { e.TraceParent = "\n" },
		"seq":                func(e *bus.Event) { e.Seq = 1 },
		"negative amount":    func(e *bus.Event) { e.Amount = -1 },
		"no data":            func(e *bus.Event) { e.Data = nil },
		"no JSON":            func(e *bus.Event) { e.Data = []byte(`{"a":`) },
		"line feed in data":  func(e *bus.Event) { e.Data = []byte("{\n}") },
		"carriage return":    func(e *bus.Event) { e.Data = []byte("{\r}") },
		"no JSON object":     func(e *bus.Event) { e.Data = []byte(`[]`) },
		"large data":         func(e *bus.Event) { e.Data = []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`) },
	}

	for name, invalidate := range tests {
		t.Run(name, func(t *testing.T) {
			invalid := newEvent("invalid", "a", "user:u")
			invalidate(&invalid)
			_, err := b.Publish(t.Context(), valid, invalid)
			if !errors.Is(err, bus.ErrInvalidEvent) {
				t.Errorf("got error %v, want ErrInvalidEvent", err)
			}
		})
	}

	// The valid event of these calls was not published either.
	requireStatuses(t, b, []bus.Event{valid}, bus.Published)
	waitUntil(t, "the valid event is handled", func() bool { return r.callCount() == 1 })
}

func testInvalidSubscriptions(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	tests := map[string]bus.Subscription{
		"no id":           {Handler: &recorder{}},
		"space in the id": {ID: "a b", Handler: &recorder{}},
		"long id":         {ID: strings.Repeat("x", 65), Handler: &recorder{}},
		"no handler":      {ID: "s"},
		"empty type":      {ID: "s", Types: []string{""}, Handler: &recorder{}},
	}

	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := b.Subscribe(s)
			if err == nil {
				t.Error("got no error")
			}
		})
	}
}

func testOrder(t *testing.T, newBus Maker) {
	const (
		accounts         = 20
		eventsPerAccount = 100
	)

	cfg := fastConfig()
	cfg.Concurrency = 7
	b, _ := newBus(t, cfg)
	var early, late recorder
	mustSubscribe(t, b, bus.Subscription{ID: "early", Priority: 1, Handler: &early})
	mustSubscribe(t, b, bus.Subscription{ID: "late", Handler: &late})

	for n := range eventsPerAccount {
		var batch []bus.Event
		for a := range accounts {
			batch = append(batch, newEvent(fmt.Sprintf("%02d/%04d", a, n), "a", fmt.Sprintf("user:u%d", a)))
		}

		mustPublish(t, b, batch...)
	}

	waitUntil(t, "all events are handled", func() bool { return late.callCount() == accounts*eventsPerAccount })
	for name, r := range map[string]*recorder{"early": &early, "late": &late} {
		last := map[string]string{} // last event by account
		for _, id := range r.callIDs() {
			account := id[:2]
			if id <= last[account] {
				t.Fatalf("subscription %s: got event %s after %s, want ascending order", name, id, last[account])
			}

			last[account] = id
		}
	}
}

func testSynchronous(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.Synchronous = true
	b, _ := newBus(t, cfg)
	var succeeds, fails recorder
	mustSubscribe(t, b, bus.Subscription{ID: "succeeds", Handler: &succeeds})
	failTwice := func(_ context.Context, e *bus.Event) error {
		if fails.recordCall(e.ID) < 3 {
			return errTest
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "fails", Handler: bus.HandlerFunc(failTwice)})
	mustPublish(t, b,
		newEvent("1", "a", "user:u"),
		newEvent("2", "a", "user:v"),
		newEvent("1", "a", "user:u"))
	requireCalls(t, "succeeds", &succeeds, 2)
	requireCalls(t, "fails", &fails, 6)

	goOn := make(chan struct{})
	block := func(context.Context, *bus.Event) error {
		<-goOn
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "blocks", Handler: bus.HandlerFunc(block)})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	_, err := b.Publish(ctx, newEvent("3", "a", "user:u"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish while a handler hangs: got error %v, want DeadlineExceeded", err)
	}

	close(goOn)
}
