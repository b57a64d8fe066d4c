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

// testLedgerEvents checks that seq and the routing fields of the ledger's events are delivered, and
// that the second party's delivery is not.
func testLedgerEvents(t *testing.T, newBus Maker) {
	b, deliver := newBus(t, fastConfig())
	got := make(chan bus.Event, 10)
	handler := func(_ context.Context, e *bus.Event) error {
		got <- *e
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	want := bus.Event{
		ID:          "e1",
		Type:        "wallet.escrow_settled",
		Account:     "user:u",
		Seq:         1,
		Amount:      7,
		Reason:      "r",
		Feature:     "f",
		TraceParent: "00-a",
		Data:        []byte(`{"all":1}`),
	}

	firstParty := bus.Delivery{
		ID:          want.ID,
		Type:        want.Type,
		Account:     want.Account,
		Seq:         want.Seq,
		Amount:      want.Amount,
		Reason:      want.Reason,
		Feature:     want.Feature,
		TraceParent: want.TraceParent,
		Data:        want.Data,
		View:        []byte(`{}`),
	}

	secondParty := bus.Delivery{
		ID:          want.ID,
		Type:        want.Type,
		Account:     "model:m",
		Seq:         1,
		Amount:      want.Amount,
		Reason:      want.Reason,
		Data:        want.Data,
		SecondParty: true,
	}

	other := bus.Delivery{ID: "e2", Type: "wallet.balance_updated", Account: "user:u", Seq: 2, Data: []byte(`{}`)}
	deliver(firstParty, secondParty, other)

	first := waitForSignal(t, "the first event", got)
	second := waitForSignal(t, "the second event", got)
	mustClose(t, b)
	first.Key = "" // the suite does not prescribe the key
	if fmt.Sprint(first) != fmt.Sprint(want) {
		t.Errorf("first event:\ngot  %+v\nwant %+v", first, want)
	}

	if second.ID != "e2" {
		t.Errorf("second event: got id %s, want e2", second.ID)
	}

	if second.Seq != 2 {
		t.Errorf("second event: got seq %d, want 2", second.Seq)
	}

	if len(got) > 0 {
		t.Errorf("got %d more events, want none", len(got))
	}
}

// testCopies requests both parties' deliveries of an event. Each of them fails once.
func testCopies(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.Copies = true
	b, deliver := newBus(t, cfg)
	var r recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if r.recordCall(fmt.Sprint(e.Account, e.Seq, e.ID)) == 1 {
			return errTest
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	deliver(
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "user:u", Seq: 1, Data: []byte(`{}`)},
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "model:m", Seq: 1, Data: []byte(`{}`), SecondParty: true},
	)

	waitUntil(t, "both are handled twice", func() bool { return r.callCount() == 4 })
	mustClose(t, b)
	got := r.callIDs()
	slices.Sort(got)
	want := []string{"model:m1e1", "model:m1e1", "user:u1e1", "user:u1e1"}
	if !slices.Equal(got, want) {
		t.Errorf("got calls %v, want %v", got, want)
	}
}

// testOrder checks that each account's events are handled in order by both priorities.
// A marker goes to the subscriptions that name its type or all types, in the order of its account. It
// is no second delivery.
func testMarkers(t *testing.T, newBus Maker) {
	b, deliver := newBus(t, fastConfig())
	var all, named recorder
	record := func(r *recorder) bus.Handler {
		return bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
			r.recordCall(fmt.Sprint(e.Type, " ", e.Seq, " ", e.Chain))
			return nil
		})
	}

	markers := make(chan bus.HistoryChanged, 1)
	mustSubscribe(t, b, bus.Subscription{ID: "all", Handler: record(&all)})
	mustSubscribe(t, b, bus.Subscription{ID: "named", Types: []string{"t"}, Handler: record(&named)})
	mustSubscribe(t, b, bus.Subscription{
		ID: "markers",
		Handler: bus.OnHistoryChanged(func(_ context.Context, e bus.HistoryChanged) error {
			markers <- e
			return nil
		}),
	})

	newDelivery := func(id, eventType string, seq int64, chain bus.Chain) bus.Delivery {
		return bus.Delivery{
			ID:      id,
			Type:    eventType,
			Account: "user:u",
			Seq:     seq,
			Chain:   chain,
			Data:    fmt.Appendf(nil, `{"eventType":%q,"accountId":"u","seq":%d,"chain":"%s"}`, eventType, seq, chain),
		}
	}

	deliver(
		newDelivery("e1", "t", 1, 1),
		newDelivery("e2", "t", 2, 2),
		newDelivery("m", bus.TypeHistoryChanged, 1, 1),
		newDelivery("e3", "t", 2, 3),
	)

	marker := waitForSignal(t, "the marker", markers)
	if marker.AccountID != "u" || marker.Seq != 1 || marker.Chain != 1 {
		t.Errorf("got marker %+v, want seq 1 of u with chain 1", marker)
	}

	waitUntil(t, "all are handled", func() bool { return all.callCount() == 4 && named.callCount() == 3 })
	mustClose(t, b)
	want := []string{
		"t 1 0000000000000001",
		"t 2 0000000000000002",
		bus.TypeHistoryChanged + " 1 0000000000000001",
		"t 2 0000000000000003",
	}

	if got := all.callIDs(); !slices.Equal(got, want) {
		t.Errorf("got calls %v, want %v", got, want)
	}

	requireCalls(t, "named", &named, 3)
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

func testMetrics(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(fastConfig())
	b, _ := newBus(t, cfg)
	var calls recorder
	flaky := func(_ context.Context, e *bus.Event) error {
		switch calls.recordCall(e.ID) {
		case 1:
			return errTest
		case 2:
			panic("test")
		}

		return nil
	}

	dead := func(context.Context, *bus.Event) error { return bus.Permanent(errTest) }
	mustSubscribe(t, b, bus.Subscription{ID: "flaky", Types: []string{"a"}, Handler: bus.HandlerFunc(flaky)})
	mustSubscribe(t, b, bus.Subscription{ID: "dead", Types: []string{"a"}, Handler: bus.HandlerFunc(dead)})
	mustPublish(t, b,
		newEvent("1", "a", "user:u"),
		newEvent("1", "a", "user:u"),
		newEvent("2", "b", "user:u"))
	waitUntil(t, "the event is handled", func() bool { return calls.callCount() == 3 })
	mustClose(t, b)
	wants := map[string]float64{
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
	}

	for name, want := range wants {
		got := read(name)
		if got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// testMetricsOfManyTypes publishes more event types than have metrics of their own.
func testMetricsOfManyTypes(t *testing.T, newBus Maker) {
	const (
		types      = 300
		otherTypes = types - 256
	)

	cfg, read := withRegistry(fastConfig())
	b, _ := newBus(t, cfg)
	for range 2 {
		for i := range types {
			mustPublish(t, b, newEvent(fmt.Sprint("e", i), fmt.Sprint("type", i), "user:u"))
		}
	}

	waitUntil(t, "all events are read", func() bool {
		return read(`event_no_subscribers_total{type=other}`) == otherTypes
	})

	for _, name := range []string{"event_published_total", "event_duplicate_detected_total", "event_no_subscribers_total"} {
		first := read(name + "{type=type0}")
		if first != 1 {
			t.Errorf("%s of the first type: got %v, want 1", name, first)
		}

		other := read(name + "{type=other}")
		if other != otherTypes {
			t.Errorf("%s of other types: got %v, want %d", name, other, otherTypes)
		}
	}
}
