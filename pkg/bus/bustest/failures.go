package bustest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func testRetries(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var flaky, other record
	subscribe(t, b, bus.Subscription{ID: "flaky", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if flaky.add(e.ID) < 3 {
			return errTest
		}
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	publish(t, b, event("1", "a", "user:u"))
	until(t, "three attempts", func() bool { return flaky.len() == 3 })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if flaky.len() != 3 || other.len() != 1 {
		t.Errorf("the flaky one ran %d times, the other %d", flaky.len(), other.len())
	}
}

// testRetryHoldsUpNone lets a handler wait for its second attempt for longer than the test lasts: its own next event, the
// other subscription of its priority and the one after it must not wait.
func testRetryHoldsUpNone(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.FirstDelay, cfg.MaxDelay = time.Hour, time.Hour
	b, _ := newBus(t, cfg)
	var fails, beside, after record
	subscribe(t, b, bus.Subscription{ID: "fails", Priority: 1, Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		fails.add(e.ID)
		if e.ID == "1" {
			return errTest
		}
		return nil
	})})
	leave := subscribe(t, b, bus.Subscription{ID: "beside", Priority: 1, Handler: &beside})
	subscribe(t, b, bus.Subscription{ID: "after", Priority: 2, Handler: &after})
	publish(t, b, event("1", "a", "user:u"), event("2", "a", "user:u"))
	until(t, "all others are done", func() bool { return fails.len() == 2 && beside.len() == 2 && after.len() == 2 })
	if err := leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while an attempt is to come: %v", err)
	}
}

func testDeadLetters(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var never, other record
	subscribe(t, b, bus.Subscription{ID: "never", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		never.add(e.ID)
		return fmt.Errorf("handle %s: %w", e.ID, errTest)
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	e := event("1", "a", "user:u")
	e.Amount, e.Reason, e.Feature, e.Key = 5, "r", "f", "k"
	before := time.Now().Add(-time.Second)
	publish(t, b, e)
	l := untilLetters(t, b, 1)[0]
	if l.Group != "suite" || l.Subscriber != "never" || l.Attempts != 3 || l.Error != "handle 1: a test's error" ||
		l.FailedAt.Before(before) || l.FailedAt.After(time.Now().Add(time.Second)) || fmt.Sprint(l.Event) != fmt.Sprint(e) ||
		l.Fields["id"] != "1" || l.Fields["data"] != string(e.Data) || l.Fields["amount"] != "5" || l.Fields["subscriber"] != "" {
		t.Errorf("the letter is %+v", l)
	}
	if one, err := b.DeadLetters().Get(t.Context(), l.ID); err != nil || fmt.Sprint(one) != fmt.Sprint(l) {
		t.Errorf("Get: %+v, %v", one, err)
	}
	for _, id := range []string{"", "x", l.ID + "1", "suite.0.1-x", "suite.x.1-0", "suite.99.1-0"} {
		if _, err := b.DeadLetters().Get(t.Context(), id); !errors.Is(err, bus.ErrNoDeadLetter) {
			t.Errorf("Get %q: %v", id, err)
		}
		if err := b.DeadLetters().Replay(t.Context(), id); !errors.Is(err, bus.ErrNoDeadLetter) {
			t.Errorf("Replay %q: %v", id, err)
		}
	}
	if never.len() != 3 || other.len() != 1 {
		t.Errorf("the failing one ran %d times, the other %d", never.len(), other.len())
	}
	// Page by page.
	for i := range 25 {
		publish(t, b, event(fmt.Sprint("more", i), "a", fmt.Sprint("user:u", i)))
	}
	untilLetters(t, b, 26)
	seen := map[string]bool{}
	for after := ""; ; {
		page, err := b.DeadLetters().List(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			seen[l.Event.ID], after = true, l.ID
		}
	}
	if len(seen) != 26 {
		t.Errorf("pages of 10 showed %d of 26", len(seen))
	}
}

func testPermanent(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var r record
	subscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		r.add(e.ID)
		return fmt.Errorf("wrapped: %w", bus.Permanent(errTest))
	})})
	publish(t, b, event("1", "a", "user:u"))
	if l := untilLetters(t, b, 1)[0]; l.Attempts != 1 || r.len() != 1 {
		t.Errorf("%d attempts, the letter says %d", r.len(), l.Attempts)
	}
	if bus.Permanent(nil) != nil || !errors.Is(bus.Permanent(errTest), errTest) {
		t.Error("Permanent does not wrap")
	}
}

func testPanic(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var panics, other record
	subscribe(t, b, bus.Subscription{ID: "panics", Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		panics.add(e.ID)
		explode()
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	publish(t, b, event("1", "a", "user:u"))
	l := untilLetters(t, b, 1)[0]
	if panics.len() != 3 || l.Attempts != 3 || !strings.HasPrefix(l.Error, "panic: a test's panic\n") || !strings.Contains(l.Error, "explode") {
		t.Errorf("after %d panics the letter says: %s", panics.len(), l.Error)
	}
	until(t, "the other has it", func() bool { return other.len() == 1 })
}

func explode() { panic("a test's panic") }

func testTimeout(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.HandlerTimeout = 20 * time.Millisecond
	b, _ := newBus(t, cfg)
	ended := make(chan error, 10)
	subscribe(t, b, bus.Subscription{ID: "waits", Handler: bus.HandlerFunc(func(ctx context.Context, _ *bus.Event) error {
		if _, ok := ctx.Deadline(); !ok {
			return bus.Permanent(errors.New("no deadline"))
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})})
	subscribe(t, b, bus.Subscription{ID: "polls", Handler: bus.HandlerFunc(func(ctx context.Context, _ *bus.Event) error {
		for ctx.Err() == nil {
			runtime.Gosched()
		}
		ended <- ctx.Err()
		return ctx.Err()
	})})
	publish(t, b, event("1", "a", "user:u"))
	for range 6 {
		if err := wait(t, "the timeout", ended); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
	}
	for _, l := range untilLetters(t, b, 2) {
		if l.Attempts != 3 || l.Error != context.DeadlineExceeded.Error() {
			t.Errorf("%+v", l)
		}
	}
}

type payload struct {
	Version string `json:"version"`
	N       int    `json:"n"`
}

func (p *payload) Check() error {
	if p.Version != "1.0" {
		return fmt.Errorf("version %q is unknown", p.Version)
	}
	return nil
}

func testTypedPayloads(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var r record
	subscribe(t, b, bus.Subscription{ID: "typed", Handler: bus.Route(
		bus.Typed("a.one", func(_ context.Context, p payload) error { r.add(fmt.Sprint("one ", p.N)); return nil }),
		bus.Typed("a.two", func(_ context.Context, p payload) error { r.add(fmt.Sprint("two ", p.N)); return nil }),
	)})
	send := func(id, kind, data string) {
		publish(t, b, bus.Event{ID: id, Type: kind, Account: "user:u", Data: []byte(data)})
	}
	send("1", "a.one", `{"version":"1.0","n":1,"more":true}`)
	send("2", "a.two", `{"version":"1.0","n":2}`)
	send("3", "a.three", `{"version":"1.0","n":3}`)
	send("4", "a.one", `{"version":"2.0","n":4}`)
	send("5", "a.one", `{"version":"1.0","n":"five"}`)
	send("6", "a.one", `{"version":"1.0","n":6}`)
	until(t, "the good ones are handled", func() bool { return r.len() == 3 })
	for _, l := range untilLetters(t, b, 2) {
		if l.Attempts != 1 || (l.Event.ID != "4" && l.Event.ID != "5") {
			t.Errorf("%+v", l)
		}
	}
	if got := fmt.Sprint(r.all()); got != "[one 1 two 2 one 6]" {
		t.Errorf("handled %s", got)
	}
}

func testReplay(t *testing.T, newBus Maker) {
	b, _ := newBus(t, quick())
	var broken atomic.Bool
	broken.Store(true)
	var healed, other record
	subscribe(t, b, bus.Subscription{ID: "heals", Types: []string{"a"}, Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if broken.Load() {
			return bus.Permanent(errTest)
		}
		healed.add(e.ID)
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	for i := range 5 {
		publish(t, b, event(fmt.Sprint(i), "a", fmt.Sprint("user:u", i)))
	}
	first := untilLetters(t, b, 5)[0]
	if err := b.DeadLetters().Replay(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	// It fails again: a new letter of the same event.
	until(t, "it is back", func() bool {
		list := letters(t, b)
		return len(list) == 5 && list[len(list)-1].ID != first.ID && !contains(list, first.ID)
	})
	broken.Store(false)
	again := letters(t, b)[0]
	if err := b.DeadLetters().Replay(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "it is handled", func() bool { return healed.len() == 1 })
	if got := healed.all()[0]; got != again.Event.ID {
		t.Errorf("replayed %s, want %s", got, again.Event.ID)
	}
	if err := b.DeadLetters().Replay(t.Context(), again.ID); !errors.Is(err, bus.ErrNoDeadLetter) {
		t.Errorf("replayed twice: %v", err)
	}
	if n, err := b.DeadLetters().ReplayAll(t.Context()); err != nil || n != 4 {
		t.Errorf("replayed %d, %v", n, err)
	}
	until(t, "all are handled", func() bool { return healed.len() == 5 })
	if n := len(letters(t, b)); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if healed.len() != 5 || other.len() != 5 {
		t.Errorf("handled %v, and by the one that never failed %v", healed.all(), other.all())
	}
}

func contains(list []bus.DeadLetter, id string) bool {
	for _, l := range list {
		if l.ID == id {
			return true
		}
	}
	return false
}

// testPause has a handler fail all the time: it is left alone after five failures, the other subscriptions and the ones
// after it are not, and it goes on where it was as soon as it works again.
func testPause(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(quick())
	cfg.PauseAfter, cfg.PauseFor, cfg.MaxPause, cfg.Attempts = 5, 10*time.Millisecond, 20*time.Millisecond, 1000
	cfg.FirstDelay, cfg.MaxDelay = time.Hour, time.Hour // its attempts are probes only
	b, _ := newBus(t, cfg)
	var broken atomic.Bool
	broken.Store(true)
	var failures atomic.Int32
	var fails, other, after record
	subscribe(t, b, bus.Subscription{ID: "fails", Priority: 1, Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		if broken.Load() {
			failures.Add(1)
			return errTest
		}
		fails.add(e.ID)
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "other", Priority: 1, Handler: &other})
	subscribe(t, b, bus.Subscription{ID: "after", Priority: 2, Handler: &after})
	const events = 200
	for i := range events {
		publish(t, b, event(fmt.Sprintf("%03d", i), "a", fmt.Sprint("user:u", i%3)))
	}
	until(t, "the others have all", func() bool { return other.len() == events && after.len() == events })
	until(t, "it is paused and probed", func() bool { return failures.Load() >= 7 && read(`event_subscriber_paused{subscriber=fails}`) == 1 })
	broken.Store(false)
	failed := int(failures.Load())
	until(t, "it goes on", func() bool { return fails.len() >= events-failed-1 })
	if read(`event_subscriber_paused{subscriber=fails}`) != 0 {
		t.Error("it still counts as paused")
	}
	if failed > events/2 {
		t.Errorf("%d failures in spite of the pause", failed)
	}
	last := map[int]string{}
	for _, id := range fails.all() {
		n, _ := strconv.Atoi(id)
		account := n % 3
		if id <= last[account] {
			t.Errorf("%s after %s", id, last[account])
		}
		last[account] = id
	}
}

// testPauseKeepsOrder pauses a subscription while it handles an account's event: the account's next one must not reach the
// later subscription before it.
func testPauseKeepsOrder(t *testing.T, newBus Maker) {
	cfg := quick()
	cfg.PauseAfter, cfg.PauseFor = 1, time.Hour
	cfg, read := withRegistry(cfg)
	b, _ := newBus(t, cfg)
	started, goOn := make(chan struct{}), make(chan struct{})
	var after record
	subscribe(t, b, bus.Subscription{ID: "paused", Priority: 1, Handler: bus.HandlerFunc(func(ctx context.Context, e *bus.Event) error {
		switch e.ID {
		case "a1":
			close(started)
			hold(ctx, goOn)
		case "b1":
			return bus.Permanent(errTest)
		}
		return nil
	})})
	subscribe(t, b, bus.Subscription{ID: "after", Priority: 2, Handler: &after})
	publish(t, b, event("a1", "a", "user:a"))
	wait(t, "the handler", started)
	publish(t, b, event("b1", "a", "user:b"))
	until(t, "it is paused", func() bool { return read(`event_subscriber_paused{subscriber=paused}`) == 1 })
	publish(t, b, event("a2", "a", "user:a"))
	publish(t, b, event("b2", "a", "user:b"))
	until(t, "the pause holds up no other account", func() bool { return slices.Contains(after.all(), "b2") })
	close(goOn)
	until(t, "all are through", func() bool { return after.len() == 4 })
	if got := after.all(); slices.Index(got, "a1") > slices.Index(got, "a2") {
		t.Errorf("handled in the order %v", got)
	}
}
