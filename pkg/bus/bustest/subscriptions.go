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

func testTakenID(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var first, second record
	leave := subscribe(t, b, bus.Subscription{ID: "s", Handler: &first})
	if _, err := b.Subscribe(bus.Subscription{ID: "s", Handler: &second}); !errors.Is(err, bus.ErrSubscribed) {
		t.Errorf("a second subscription with the id: %v", err)
	}
	publish(t, b, event("1", "a", "user:u"))
	until(t, "the first has its event", func() bool { return first.len() == 1 })
	for range 2 {
		if err := leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(t, b, bus.Subscription{ID: "s", Handler: &second})
	if err := leave(t.Context()); err != nil { // it must not take the other one out
		t.Fatal(err)
	}
	publish(t, b, event("2", "a", "user:u"))
	until(t, "the second has its event", func() bool { return second.len() == 1 })
	if first.len() != 1 {
		t.Errorf("the first got %v", first.all())
	}
}

func testUnsubscribeWaits(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	started, goOn := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	leave := subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
		close(started) // a second call would panic, and there is none
		<-goOn
		ended.Store(true)
		return nil
	})})
	publish(t, b, event("1", "a", "user:u"), event("2", "a", "user:u"))
	wait(t, "the handler", started)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("unsubscribe while the handler runs, with a deadline: %v", err)
	}
	left := make(chan bool, 1)
	go func() {
		err := leave(context.WithoutCancel(t.Context()))
		left <- err == nil && ended.Load()
	}()
	close(goOn)
	if !wait(t, "unsubscribe", left) {
		t.Error("unsubscribe returned before the handler had")
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func testUnsubscribeItself(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var leave func(context.Context) error
	result := make(chan error, 1)
	ready := make(chan struct{})
	leave = subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(ctx context.Context, _ *bus.Event) error {
		<-ready
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		result <- leave(ctx)
		return nil
	})})
	close(ready)
	publish(t, b, event("1", "a", "user:u"))
	if err := wait(t, "unsubscribe", result); err != nil {
		t.Error(err)
	}
}

// testUnsubscribeDrops takes a subscription out that other events and another attempt wait for: nothing waits any more.
func testUnsubscribeDrops(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.FirstDelay, cfg.MaxDelay = time.Hour, time.Hour
	b, _ := newBus(t, cfg)
	var fails, other record
	leave := subscribe(t, b, bus.Subscription{ID: "fails", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		fails.add(e.ID)
		return errTest
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	publish(t, b, event("1", "a", "user:u"), event("2", "a", "user:v"))
	until(t, "both failed once", func() bool { return fails.len() == 2 && other.len() == 2 })
	if err := leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("events still wait: %v", err)
	}
}

func testPriorities(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var r record
	for id, priority := range map[string]int{"third": 0, "second": 99, "first": -1, "fourth": 101} {
		subscribe(t, b, bus.Subscription{ID: id, Priority: priority, Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
			r.add(id)
			return nil
		})})
	}
	want := []string{"first", "second", "third", "fourth"} // the third has the default, 100
	for i := range 20 {
		publish(t, b, event(fmt.Sprint(i), "a", "user:u"))
		until(t, "all four ran", func() bool { return r.len() == 4*(i+1) })
		if got := r.all()[4*i:]; !slices.Equal(got, want) {
			t.Fatalf("ran in the order %v", got)
		}
	}
}

// testSideBySide has two handlers of one priority that each wait for the other.
func testSideBySide(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	a, c := make(chan struct{}), make(chan struct{})
	met := make(chan error, 2)
	meet := func(mine, other chan struct{}) bus.HandlerFunc {
		return func(ctx context.Context, _ *bus.Event) error {
			close(mine)
			select {
			case <-other:
				met <- nil
			case <-ctx.Done():
				met <- ctx.Err()
			}
			return nil
		}
	}
	subscribe(t, b, bus.Subscription{ID: "a", Handler: meet(a, c)})
	subscribe(t, b, bus.Subscription{ID: "c", Handler: meet(c, a)})
	publish(t, b, event("1", "a", "user:u"))
	for range 2 {
		if err := wait(t, "the handlers", met); err != nil {
			t.Error(err)
		}
	}
}

// testBackPressure blocks handlers: no more events come in than the bound says, and all are handled in the end.
func testBackPressure(t *testing.T, newBus Maker) {
	const bound, events = 8, 50
	cfg := quick()
	cfg.MaxInFlight, cfg.Lanes = bound, 2*bound
	b, _ := newBus(t, cfg)
	var r record
	var running, most atomic.Int32
	goOn := make(chan struct{})
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(ctx context.Context, e *bus.Event) error {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		hold(ctx, goOn)
		running.Add(-1)
		r.add(e.ID)
		return nil
	})})
	published := make(chan error, 1)
	go func() {
		var all []bus.Event
		for i := range events {
			all = append(all, event(fmt.Sprint(i), "a", fmt.Sprint("user:u", i)))
		}
		_, err := b.Publish(t.Context(), all...)
		published <- err
	}()
	until(t, "some run", func() bool { return running.Load() >= 2 })
	for range events {
		goOn <- struct{}{}
	}
	if err := wait(t, "publish", published); err != nil {
		t.Fatal(err)
	}
	until(t, "all are handled", func() bool { return r.len() == events })
	if m := most.Load(); m > bound {
		t.Errorf("%d were under way, the bound is %d", m, bound)
	}
}

func testCloseDrains(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	started, goOn := make(chan struct{}), make(chan struct{})
	var r record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if r.add(e.ID) == 1 {
			close(started)
			<-goOn
			return errTest // its second attempt belongs to the draining too
		}
		return nil
	})})
	publish(t, b, event("1", "a", "user:u"))
	wait(t, "the handler", started)
	closed := make(chan error, 1)
	go func() { closed <- b.Close(context.WithoutCancel(t.Context())) }()
	close(goOn)
	if err := wait(t, "Close", closed); err != nil {
		t.Fatal(err)
	}
	if r.len() != 2 {
		t.Errorf("Close returned after %d attempts", r.len())
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "late", Handler: &r}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Subscribe after Close: %v", err)
	}
	if _, err := b.Publish(t.Context(), event("2", "a", "user:u")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Publish after Close: %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func testCloseGivesUp(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	started, told := make(chan struct{}), make(chan error, 1)
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(ctx context.Context, _ *bus.Event) error {
		close(started)
		<-ctx.Done()
		told <- ctx.Err()
		return ctx.Err()
	})})
	publish(t, b, event("1", "a", "user:u"))
	wait(t, "the handler", started)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with a deadline: %v", err)
	}
	if err := wait(t, "the handler's context", told); !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context ended with %v", err)
	}
}
