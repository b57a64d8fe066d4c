package bustest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func testRetries(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var flaky, other recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if flaky.recordCall(e.ID) < 3 {
			return errTest
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "flaky", Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	waitUntil(t, "the third attempt ran", func() bool { return flaky.callCount() == 3 })
	mustClose(t, b)
	requireCalls(t, "flaky", &flaky, 3)
	requireCalls(t, "other", &other, 1)
}

// testRetryDoesNotBlock has a handler whose second attempt comes after the end of the test. Its own
// next event, the other subscription of its priority and the next priority must not wait for it.
func testRetryDoesNotBlock(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.FirstDelay = time.Hour
	cfg.MaxDelay = time.Hour
	b, _ := newBus(t, cfg)
	var fails, parallel, later recorder
	failFirst := func(_ context.Context, e *bus.Event) error {
		fails.recordCall(e.ID)
		if e.ID == "1" {
			return errTest
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "fails", Priority: 1, Handler: bus.HandlerFunc(failFirst)})
	unsubscribe := mustSubscribe(t, b, bus.Subscription{ID: "parallel", Priority: 1, Handler: &parallel})
	mustSubscribe(t, b, bus.Subscription{ID: "later", Priority: 2, Handler: &later})
	mustPublish(t, b, newEvent("1", "a", "user:u"), newEvent("2", "a", "user:u"))
	waitUntil(t, "all other attempts ended", func() bool {
		return fails.callCount() == 2 && parallel.callCount() == 2 && later.callCount() == 2
	})

	err := unsubscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()

	err = b.Close(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close while an attempt waits: got error %v, want DeadlineExceeded", err)
	}
}

func testPermanent(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var r recorder
	handler := func(_ context.Context, e *bus.Event) error {
		r.recordCall(e.ID)
		return fmt.Errorf("wrapped: %w", bus.Permanent(errTest))
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	letter := waitForLetters(t, b, 1)[0]
	if letter.Attempts != 1 {
		t.Errorf("dead letter: got %d attempts, want 1", letter.Attempts)
	}

	requireCalls(t, "s", &r, 1)
	if bus.Permanent(nil) != nil {
		t.Error("Permanent(nil): got an error, want nil")
	}

	if !errors.Is(bus.Permanent(errTest), errTest) {
		t.Error("Permanent must wrap its error")
	}
}

func testPanic(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var panics, other recorder
	handler := func(_ context.Context, e *bus.Event) error {
		panics.recordCall(e.ID)
		panicInHandler()
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "panics", Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	letter := waitForLetters(t, b, 1)[0]
	requireCalls(t, "panics", &panics, 3)
	if letter.Attempts != 3 {
		t.Errorf("dead letter: got %d attempts, want 3", letter.Attempts)
	}

	if !strings.HasPrefix(letter.Error, "panic: a test's panic\n") {
		t.Errorf("dead letter: got error %s, want the panic's text first", letter.Error)
	}

	if !strings.Contains(letter.Error, "panicInHandler") {
		t.Errorf("dead letter: got error %s, want it to contain the stack", letter.Error)
	}

	waitUntil(t, "the other subscription has the event", func() bool { return other.callCount() == 1 })
}

func panicInHandler() { panic("a test's panic") }

func testTimeout(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.HandlerTimeout = 20 * time.Millisecond
	b, _ := newBus(t, cfg)
	ended := make(chan error, 10)
	waitForEnd := func(ctx context.Context, _ *bus.Event) error {
		_, ok := ctx.Deadline()
		if !ok {
			return bus.Permanent(errors.New("no deadline"))
		}

		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}

	pollForEnd := func(ctx context.Context, _ *bus.Event) error {
		for ctx.Err() == nil {
			runtime.Gosched()
		}

		ended <- ctx.Err()
		return ctx.Err()
	}

	mustSubscribe(t, b, bus.Subscription{ID: "waits", Handler: bus.HandlerFunc(waitForEnd)})
	mustSubscribe(t, b, bus.Subscription{ID: "polls", Handler: bus.HandlerFunc(pollForEnd)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))

	for range 6 {
		err := waitForSignal(t, "the timeout", ended)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("handler's context: got error %v, want DeadlineExceeded", err)
		}
	}

	for _, letter := range waitForLetters(t, b, 2) {
		if letter.Attempts != 3 {
			t.Errorf("dead letter of %s: got %d attempts, want 3", letter.Subscriber, letter.Attempts)
		}

		if letter.Error != context.DeadlineExceeded.Error() {
			t.Errorf("dead letter of %s: got error %s, want %v", letter.Subscriber, letter.Error, context.DeadlineExceeded)
		}
	}
}

type payload struct {
	Version string `json:"version"`
	N       int    `json:"n"`
}

func (p *payload) Check() error {
	if p.Version != "1.0" {
		return fmt.Errorf("version must be 1.0, got %q", p.Version)
	}
	return nil
}

func testTypedPayloads(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var r recorder
	newHandler := func(name string) func(context.Context, payload) error {
		return func(_ context.Context, p payload) error {
			r.recordCall(fmt.Sprint(name, " ", p.N))
			return nil
		}
	}

	handler := bus.Route(
		bus.Typed("a.one", newHandler("one")),
		bus.Typed("a.two", newHandler("two")),
	)

	mustSubscribe(t, b, bus.Subscription{ID: "typed", Handler: handler})
	publishData := func(id, eventType, data string) {
		mustPublish(t, b, bus.Event{ID: id, Type: eventType, Account: "user:u", Data: []byte(data)})
	}

	publishData("1", "a.one", `{"version":"1.0","n":1,"more":true}`)
	publishData("2", "a.two", `{"version":"1.0","n":2}`)
	publishData("3", "a.three", `{"version":"1.0","n":3}`)
	publishData("4", "a.one", `{"version":"2.0","n":4}`)
	publishData("5", "a.one", `{"version":"1.0","n":"five"}`)
	publishData("6", "a.one", `{"version":"1.0","n":6}`)
	waitUntil(t, "the valid events are handled", func() bool { return r.callCount() == 3 })

	for _, letter := range waitForLetters(t, b, 2) {
		id := letter.Event.ID
		if letter.Attempts != 1 {
			t.Errorf("dead letter of event %s: got %d attempts, want 1", id, letter.Attempts)
		}

		if id != "4" && id != "5" {
			t.Errorf("got a dead letter of event %s, want only 4 and 5", id)
		}
	}

	got := fmt.Sprint(r.callIDs())
	if got != "[one 1 two 2 one 6]" {
		t.Errorf("got calls %s, want [one 1 two 2 one 6]", got)
	}
}
