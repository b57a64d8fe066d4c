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
	b, _ := newBus(t, quick())
	var some, all record
	subscribe(t, b, bus.Subscription{ID: "some", Types: []string{"a.one", "a.two"}, Handler: &some})
	subscribe(t, b, bus.Subscription{ID: "all", Handler: &all})
	publish(t, b, event("1", "a.one", "user:u"), event("2", "a.two", "user:u"), event("3", "b.three", "user:u"))
	until(t, "all are handled", func() bool { return all.len() == 3 && some.len() == 2 })
	if got := some.all(); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the subscription of two types got %v", got)
	}
}

func testDuplicates(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var r record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	keyed := func(id, key string) bus.Event {
		e := event(id, "a", "user:u")
		e.Key = key
		return e
	}
	got := publish(t, b, event("1", "a", "user:u"), event("1", "a", "user:u"), keyed("2", "k"), keyed("3", "k"), keyed("2", "l"), keyed("4", "l"))
	want := []bus.Status{bus.Published, bus.Duplicate, bus.Published, bus.Duplicate, bus.Duplicate, bus.Published}
	if !slices.Equal(got, want) {
		t.Errorf("one call answered %v, want %v", got, want)
	}
	if got := publish(t, b, event("1", "a", "user:u"), keyed("5", "k")); got[0] != bus.Duplicate || got[1] != bus.Duplicate {
		t.Errorf("a later call answered %v", got)
	}
	// An event without an id gets one, so two of them are two.
	if got := publish(t, b, event("", "a", "user:u"), event("", "a", "user:u")); got[0] != bus.Published || got[1] != bus.Published {
		t.Errorf("events without id: %v", got)
	}
	until(t, "the events are handled", func() bool { return r.len() == 5 })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.all(); !slices.Equal(got[:3], []string{"1", "2", "4"}) || len(got) != 5 || got[3] == "" || got[3] == got[4] {
		t.Errorf("handled %q", got)
	}
}

func testDuplicatesAllowed(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.AllowDuplicates = true
	b, _ := newBus(t, cfg)
	var r record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	if got := publish(t, b, event("1", "a", "user:u"), event("1", "a", "user:u")); got[1] != bus.Published {
		t.Errorf("answered %v", got)
	}
	until(t, "both are handled", func() bool { return r.len() == 2 })
}

func testInvalidEvents(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var r record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: &r})
	good := event("good", "a", "user:u")
	for what, change := range map[string]func(*bus.Event){
		"a long id":         func(e *bus.Event) { e.ID = strings.Repeat("x", 256) },
		"a blank in the id": func(e *bus.Event) { e.ID = "a b" },
		"no type":           func(e *bus.Event) { e.Type = "" },
		"a strange type":    func(e *bus.Event) { e.Type = "a b" },
		"a strange account": func(e *bus.Event) { e.Account = "user:\n" },
		"a long key":        func(e *bus.Event) { e.Key = strings.Repeat("x", 256) },
		"a strange trace":   func(e *bus.Event) { e.TraceParent = "\n" },
		"a seq":             func(e *bus.Event) { e.Seq = 1 },
		"an amount below 0": func(e *bus.Event) { e.Amount = -1 },
		"no data":           func(e *bus.Event) { e.Data = nil },
		"no JSON":           func(e *bus.Event) { e.Data = []byte(`{"a":`) },
		"no JSON object":    func(e *bus.Event) { e.Data = []byte(`[]`) },
		"large data":        func(e *bus.Event) { e.Data = []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`) },
	} {
		bad := event("bad", "a", "user:u")
		change(&bad)
		if _, err := b.Publish(t.Context(), good, bad); !errors.Is(err, bus.ErrInvalidEvent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Not one of the good ones beside them was published.
	if got := publish(t, b, good); got[0] != bus.Published {
		t.Errorf("the good one is %v", got)
	}
	until(t, "the good one is handled", func() bool { return r.len() == 1 })
}

func testInvalidSubscriptions(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	for _, s := range []bus.Subscription{
		{Handler: &record{}},
		{ID: "a b", Handler: &record{}},
		{ID: strings.Repeat("x", 65), Handler: &record{}},
		{ID: "s"},
		{ID: "s", Types: []string{""}, Handler: &record{}},
	} {
		if _, err := b.Subscribe(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

// testLedgerEvents sees what the relay brings: seq and the routing fields come along, and the second party's copy does not.
func testLedgerEvents(t *testing.T, newBus Maker) {
	b, deliver := newBus(t, quick())
	got := make(chan bus.Event, 10)
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		got <- *e
		return nil
	})})
	deliver(
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "user:u", Seq: 1, Amount: 7, Reason: "r", Feature: "f", Data: []byte(`{"all":1}`), View: []byte(`{}`), TraceParent: "00-a"},
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "model:m", Seq: 1, Amount: 7, Reason: "r", Data: []byte(`{"all":1}`), SecondParty: true},
		bus.Delivery{ID: "e2", Type: "wallet.balance_updated", Account: "user:u", Seq: 2, Data: []byte(`{}`)},
	)
	first, second := wait(t, "the first event", got), wait(t, "the second event", got)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.Key = "" // how the relay forms it is its own affair
	want := bus.Event{ID: "e1", Type: "wallet.escrow_settled", Account: "user:u", Seq: 1, Amount: 7, Reason: "r", Feature: "f", Data: []byte(`{"all":1}`), TraceParent: "00-a"}
	if fmt.Sprint(first) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", first, want)
	}
	if second.ID != "e2" || second.Seq != 2 || len(got) > 0 {
		t.Errorf("then came %+v and %d more", second, len(got))
	}
}

// testCopies asks for both parties' deliveries of an event, and has each fail once.
func testCopies(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.Copies = true
	b, deliver := newBus(t, cfg)
	var calls record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if calls.add(fmt.Sprint(e.Account, e.Seq, e.ID)) == 1 {
			return errTest
		}
		return nil
	})})
	deliver(
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "user:u", Seq: 1, Data: []byte(`{}`)},
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "model:m", Seq: 1, Data: []byte(`{}`), SecondParty: true},
	)
	until(t, "both were handled twice", func() bool { return calls.len() == 4 })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := calls.all()
	slices.Sort(got)
	if want := []string{"model:m1e1", "model:m1e1", "user:u1e1", "user:u1e1"}; !slices.Equal(got, want) {
		t.Errorf("handled %v, want %v", got, want)
	}
}

// testOrder publishes to several accounts and wants each account's events in order, from one priority to the next too.
func testOrder(t *testing.T, newBus Maker) {
	const accounts, each = 20, 100
	cfg := quick()
	cfg.Lanes = 7
	b, _ := newBus(t, cfg)
	var early, late record
	subscribe(t, b, bus.Subscription{ID: "early", Priority: 1, Handler: &early})
	subscribe(t, b, bus.Subscription{ID: "late", Handler: &late})
	for n := range each {
		var batch []bus.Event
		for a := range accounts {
			batch = append(batch, event(fmt.Sprintf("%02d/%04d", a, n), "a", fmt.Sprintf("user:u%d", a)))
		}
		publish(t, b, batch...)
	}
	until(t, "all are handled", func() bool { return late.len() == accounts*each })
	for name, r := range map[string]*record{"early": &early, "late": &late} {
		last := map[string]string{}
		for _, id := range r.all() {
			account := id[:2]
			if id <= last[account] {
				t.Fatalf("%s: %s after %s", name, id, last[account])
			}
			last[account] = id
		}
	}
}

func testSynchronous(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.Synchronous = true
	b, _ := newBus(t, cfg)
	var works, fails record
	subscribe(t, b, bus.Subscription{ID: "works", Handler: &works})
	subscribe(t, b, bus.Subscription{ID: "fails", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if fails.add(e.ID) < 3 {
			return errTest
		}
		return nil
	})})
	publish(t, b, event("1", "a", "user:u"), event("2", "a", "user:v"), event("1", "a", "user:u"))
	if works.len() != 2 || fails.len() != 6 {
		t.Errorf("Publish returned after %v and %v", works.all(), fails.all())
	}
	block := make(chan struct{})
	subscribe(t, b, bus.Subscription{ID: "blocks", Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
		<-block
		return nil
	})})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, event("3", "a", "user:u")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish whose handler hangs answered %v", err)
	}
	close(block)
}

func testMetrics(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(quick())
	b, _ := newBus(t, cfg)
	var once record
	subscribe(t, b, bus.Subscription{ID: "flaky", Types: []string{"a"}, Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		switch once.add(e.ID) {
		case 1:
			return errTest
		case 2:
			panic("test")
		}
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "dead", Types: []string{"a"}, Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
		return bus.Permanent(errTest)
	})})
	publish(t, b, event("1", "a", "user:u"), event("1", "a", "user:u"), event("2", "b", "user:u"))
	until(t, "the events are handled", func() bool { return once.len() == 3 })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		`event_published_total{type=a}`:                        1,
		`event_published_total{type=b}`:                        1,
		`event_duplicate_detected_total{type=a}`:               1,
		`event_no_subscribers_total{type=b}`:                   1,
		`event_handler_success_total{subscriber=flaky,type=a}`: 1,
		`event_handler_error_total{subscriber=flaky,type=a}`:   2,
		`event_handler_error_total{subscriber=dead,type=a}`:    1,
		`event_dead_letters_total{subscriber=dead,type=a}`:     1,
		`event_dead_letters_total{subscriber=flaky,type=a}`:    0,
		`event_handler_seconds_count{subscriber=flaky,type=a}`: 3,
		`event_handler_attempts_sum{subscriber=flaky}`:         3,
		`event_handler_running{subscriber=flaky}`:              0,
		`event_subscriber_paused{subscriber=flaky}`:            0,
		`event_in_flight{group=suite}`:                         0,
	} {
		if got := read(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// testMetricsOfTypes publishes more types than metrics may have labels for.
func testMetricsOfTypes(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(quick())
	b, _ := newBus(t, cfg)
	for range 2 {
		for i := range 300 {
			publish(t, b, event(fmt.Sprint("e", i), fmt.Sprint("type", i), "user:u"))
		}
	}
	until(t, "all are read", func() bool { return read(`event_no_subscribers_total{type=other}`) == 300-256 })
	for _, name := range []string{"event_published_total", "event_duplicate_detected_total", "event_no_subscribers_total"} {
		if first, other := read(name+"{type=type0}"), read(name+"{type=other}"); first != 1 || other != 300-256 {
			t.Errorf("%s: %v of the first type and %v others", name, first, other)
		}
	}
}
