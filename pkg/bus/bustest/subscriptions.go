package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func testSubscribeTwice(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var first, second recorder
	unsubscribe := mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: &first})
	_, err := b.Subscribe(bus.Subscription{ID: "s", Handler: &second})
	if !errors.Is(err, bus.ErrSubscribed) {
		t.Errorf("second subscription with the same id: got error %v, want ErrSubscribed", err)
	}

	mustPublish(t, b, newEvent("1", "a", "user:u"))
	waitUntil(t, "the first subscription has its event", func() bool { return first.callCount() == 1 })
	for range 2 {
		err := unsubscribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: &second})
	err = unsubscribe(t.Context()) // must not remove the second subscription
	if err != nil {
		t.Fatal(err)
	}

	mustPublish(t, b, newEvent("2", "a", "user:u"))
	waitUntil(t, "the second subscription has its event", func() bool { return second.callCount() == 1 })
	requireCalls(t, "first", &first, 1)
}

func testUnsubscribeWaits(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	started := make(chan struct{})
	goOn := make(chan struct{})
	var ended atomic.Bool
	handler := func(context.Context, *bus.Event) error {
		close(started) // a second call would panic
		<-goOn
		ended.Store(true)

		return nil
	}

	unsubscribe := mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	mustPublish(t, b, newEvent("1", "a", "user:u"), newEvent("2", "a", "user:u"))
	waitForSignal(t, "the handler", started)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()

	err := unsubscribe(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("unsubscribe while the handler runs: got error %v, want DeadlineExceeded", err)
	}

	type result struct {
		err          error
		handlerEnded bool
	}

	unsubscribed := make(chan result, 1)
	go func() {
		err := unsubscribe(context.WithoutCancel(t.Context()))
		unsubscribed <- result{err, ended.Load()}
	}()

	close(goOn)
	got := waitForSignal(t, "unsubscribe", unsubscribed)
	if got.err != nil {
		t.Errorf("unsubscribe: got error %v", got.err)
	}

	if !got.handlerEnded {
		t.Error("unsubscribe returned before the handler")
	}

	mustClose(t, b)
}

func testUnsubscribeInHandler(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var unsubscribe func(context.Context) error
	result := make(chan error, 1)
	ready := make(chan struct{})
	handler := func(ctx context.Context, _ *bus.Event) error {
		<-ready
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()

		result <- unsubscribe(ctx)

		return nil
	}

	unsubscribe = mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	close(ready)
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	err := waitForSignal(t, "unsubscribe", result)
	if err != nil {
		t.Errorf("got error %v", err)
	}
}

// testUnsubscribeDrops removes a subscription that has waiting events and waiting attempts. Close
// must not wait for them.
func testUnsubscribeDrops(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.FirstDelay = time.Hour
	cfg.MaxDelay = time.Hour
	b, _ := newBus(t, cfg)
	var fails, other recorder
	handler := func(_ context.Context, e *bus.Event) error {
		fails.recordCall(e.ID)
		return errTest
	}

	unsubscribe := mustSubscribe(t, b, bus.Subscription{ID: "fails", Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	mustPublish(t, b, newEvent("1", "a", "user:u"), newEvent("2", "a", "user:v"))
	waitUntil(t, "both failed once", func() bool { return fails.callCount() == 2 && other.callCount() == 2 })
	err := unsubscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	err = b.Close(t.Context())
	if err != nil {
		t.Errorf("close: got error %v", err)
	}
}

func testPriorities(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var r recorder
	for id, priority := range map[string]int{"third": 0, "second": 99, "first": -1, "fourth": 101} {
		handler := func(context.Context, *bus.Event) error {
			r.recordCall(id)
			return nil
		}

		mustSubscribe(t, b, bus.Subscription{ID: id, Priority: priority, Handler: bus.HandlerFunc(handler)})
	}

	want := []string{"first", "second", "third", "fourth"} // third has the default priority, 100
	for i := range 20 {
		mustPublish(t, b, newEvent(fmt.Sprint(i), "a", "user:u"))
		waitUntil(t, "all four ran", func() bool { return r.callCount() == 4*(i+1) })
		got := r.callIDs()[4*i:]
		if !slices.Equal(got, want) {
			t.Fatalf("event %d: got order %v, want %v", i, got, want)
		}
	}
}

// testParallelHandlers has two handlers of one priority. Each waits until the other one runs.
func testParallelHandlers(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	runsA := make(chan struct{})
	runsB := make(chan struct{})
	result := make(chan error, 2)
	newHandler := func(runs, otherRuns chan struct{}) bus.HandlerFunc {
		return func(ctx context.Context, _ *bus.Event) error {
			close(runs)
			select {
			case <-otherRuns:
				result <- nil
			case <-ctx.Done():
				result <- ctx.Err()
			}

			return nil
		}
	}

	mustSubscribe(t, b, bus.Subscription{ID: "a", Handler: newHandler(runsA, runsB)})
	mustSubscribe(t, b, bus.Subscription{ID: "b", Handler: newHandler(runsB, runsA)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))

	for range 2 {
		err := waitForSignal(t, "the handlers", result)
		if err != nil {
			t.Errorf("got error %v", err)
		}
	}
}

// testBackPressure blocks handlers. Only MaxInFlight events may be in flight, and all events must
// be handled in the end.
func testBackPressure(t *testing.T, newBus Maker) {
	const (
		maxInFlight = 8
		events      = 50
	)

	cfg := fastConfig()
	cfg.MaxInFlight = maxInFlight
	cfg.Concurrency = 2 * maxInFlight
	b, _ := newBus(t, cfg)
	var r recorder
	var running, maxRunning atomic.Int32
	goOn := make(chan struct{})
	handler := func(ctx context.Context, e *bus.Event) error {
		storeMax(&maxRunning, running.Add(1))
		waitInHandler(ctx, goOn)
		running.Add(-1)
		r.recordCall(e.ID)

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	published := make(chan error, 1)
	go func() {
		var batch []bus.Event
		for i := range events {
			batch = append(batch, newEvent(fmt.Sprint(i), "a", fmt.Sprint("user:u", i)))
		}

		_, err := b.Publish(t.Context(), batch...)
		published <- err
	}()

	waitUntil(t, "two handlers run", func() bool { return running.Load() >= 2 })
	for range events {
		goOn <- struct{}{}
	}

	err := waitForSignal(t, "publish", published)
	if err != nil {
		t.Fatal(err)
	}

	waitUntil(t, "all events are handled", func() bool { return r.callCount() == events })
	got := maxRunning.Load()
	if got > maxInFlight {
		t.Errorf("got %d events in flight, want at most %d", got, maxInFlight)
	}
}

// storeMax stores n if it is greater than the stored value.
func storeMax(stored *atomic.Int32, n int32) {
	for {
		current := stored.Load()
		if n <= current || stored.CompareAndSwap(current, n) {
			return
		}
	}
}

func testCloseDrains(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	started := make(chan struct{})
	goOn := make(chan struct{})
	var r recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if r.recordCall(e.ID) == 1 {
			close(started)
			<-goOn
			return errTest // Close waits for the second attempt too
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	waitForSignal(t, "the handler", started)
	closed := make(chan error, 1)
	go func() { closed <- b.Close(context.WithoutCancel(t.Context())) }()
	close(goOn)
	err := waitForSignal(t, "Close", closed)
	if err != nil {
		t.Fatal(err)
	}

	requireCalls(t, "s", &r, 2)

	_, err = b.Subscribe(bus.Subscription{ID: "late", Handler: &r})
	if !errors.Is(err, bus.ErrClosed) {
		t.Errorf("subscribe after Close: got error %v, want ErrClosed", err)
	}

	_, err = b.Publish(t.Context(), newEvent("2", "a", "user:u"))
	if !errors.Is(err, bus.ErrClosed) {
		t.Errorf("publish after Close: got error %v, want ErrClosed", err)
	}

	err = b.Close(t.Context())
	if err != nil {
		t.Errorf("second Close: got error %v", err)
	}
}

func testCloseCancelsHandlers(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	started := make(chan struct{})
	canceled := make(chan error, 1)
	handler := func(ctx context.Context, _ *bus.Event) error {
		close(started)
		<-ctx.Done()
		canceled <- ctx.Err()

		return ctx.Err()
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	waitForSignal(t, "the handler", started)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()

	err := b.Close(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close with a deadline: got error %v, want DeadlineExceeded", err)
	}

	err = waitForSignal(t, "the end of the handler's context", canceled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("handler's context: got error %v, want Canceled", err)
	}
}
