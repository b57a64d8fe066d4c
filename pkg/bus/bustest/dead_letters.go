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

func testDeadLetters(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var fails, other recorder
	handler := func(_ context.Context, e *bus.Event) error {
		fails.recordCall(e.ID)
		return fmt.Errorf("handle %s: %w", e.ID, errTest)
	}

	mustSubscribe(t, b, bus.Subscription{ID: "fails", Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	e := newEvent("1", "a", "user:u")
	e.Amount = 5
	e.Reason = "r"
	e.Feature = "f"
	e.Key = "k"
	before := time.Now().Add(-time.Second)
	mustPublish(t, b, e)
	got := waitForLetters(t, b, 1)[0]
	requireCalls(t, "fails", &fails, 3)
	requireCalls(t, "other", &other, 1)

	if got.FailedAt.Before(before) || got.FailedAt.After(time.Now().Add(time.Second)) {
		t.Errorf("got time of failure %v, want now", got.FailedAt)
	}

	if fmt.Sprint(got.Event) != fmt.Sprint(e) {
		t.Errorf("got event %+v, want %+v", got.Event, e)
	}

	fields := []struct{ name, got, want string }{
		{"group", got.Group, "suite"},
		{"subscription", got.Subscriber, "fails"},
		{"attempts", fmt.Sprint(got.Attempts), "3"},
		{"error", got.Error, "handle 1: a test's error"},
		{"field id", got.Fields["id"], "1"},
		{"field data", got.Fields["data"], string(e.Data)},
		{"field amount", got.Fields["amount"], "5"},
		{"field subscriber", got.Fields["subscriber"], ""},
	}

	for _, field := range fields {
		if field.got != field.want {
			t.Errorf("%s: got %q, want %q", field.name, field.got, field.want)
		}
	}

	letter, err := b.DeadLetters().Get(t.Context(), got.ID)
	if err != nil {
		t.Fatal(err)
	}

	if fmt.Sprint(letter) != fmt.Sprint(got) {
		t.Errorf("get: got %+v, want %+v", letter, got)
	}
}

func testDeadLetterInvalidIDs(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(failPermanently)})
	mustPublish(t, b, newEvent("1", "a", "user:u"))
	id := waitForLetters(t, b, 1)[0].ID

	for _, invalid := range []string{"", "x", id + "1", "suite.0.1-x", "suite.x.1-0", "suite.99.1-0"} {
		_, err := b.DeadLetters().Get(t.Context(), invalid)
		if !errors.Is(err, bus.ErrNoDeadLetter) {
			t.Errorf("get %q: got error %v, want ErrNoDeadLetter", invalid, err)
		}

		err = b.DeadLetters().Replay(t.Context(), invalid)
		if !errors.Is(err, bus.ErrNoDeadLetter) {
			t.Errorf("replay %q: got error %v, want ErrNoDeadLetter", invalid, err)
		}
	}
}

func failPermanently(context.Context, *bus.Event) error { return bus.Permanent(errTest) }

func testDeadLetterPages(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(failPermanently)})
	const events = 26

	for i := range events {
		mustPublish(t, b, newEvent(fmt.Sprint(i), "a", fmt.Sprint("user:u", i)))
	}

	waitForLetters(t, b, events)
	seen := map[string]bool{}
	after := ""

	for {
		page, err := b.DeadLetters().List(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}

		if len(page) == 0 {
			break
		}

		for _, letter := range page {
			seen[letter.Event.ID] = true
			after = letter.ID
		}
	}

	if len(seen) != events {
		t.Errorf("got %d letters in pages of 10, want %d", len(seen), events)
	}
}

func testReplay(t *testing.T, newBus Maker) {
	b, _ := newBus(t, fastConfig())
	var broken atomic.Bool
	broken.Store(true)
	var repaired, other recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if broken.Load() {
			return bus.Permanent(errTest)
		}

		repaired.recordCall(e.ID)
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "repaired", Types: []string{"a"}, Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "other", Handler: &other})
	for i := range 5 {
		mustPublish(t, b, newEvent(fmt.Sprint(i), "a", fmt.Sprint("user:u", i)))
	}

	letters := b.DeadLetters()

	// The replay fails again and makes a new letter of the same event.
	first := waitForLetters(t, b, 5)[0]
	mustReplay(t, letters, first.ID)
	waitUntil(t, "there is a new letter", func() bool {
		list := listLetters(t, b)
		return len(list) == 5 && !containsLetter(list, first.ID)
	})

	broken.Store(false)
	next := listLetters(t, b)[0]
	mustReplay(t, letters, next.ID)
	waitUntil(t, "the replay is handled", func() bool { return repaired.callCount() == 1 })
	if got := repaired.callIDs()[0]; got != next.Event.ID {
		t.Errorf("replay: got event %s, want %s", got, next.Event.ID)
	}

	err := letters.Replay(t.Context(), next.ID)
	if !errors.Is(err, bus.ErrNoDeadLetter) {
		t.Errorf("second replay: got error %v, want ErrNoDeadLetter", err)
	}

	n, err := letters.ReplayAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	if n != 4 {
		t.Errorf("replay all: got %d letters, want 4", n)
	}

	waitUntil(t, "all events are handled", func() bool { return repaired.callCount() == 5 })
	if n := len(listLetters(t, b)); n != 0 {
		t.Errorf("got %d letters after the replays, want 0", n)
	}

	mustClose(t, b)
	requireCalls(t, "repaired", &repaired, 5)
	requireCalls(t, "other", &other, 5)
}

func mustReplay(t *testing.T, letters bus.DeadLetters, id string) {
	t.Helper()

	err := letters.Replay(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
}

func containsLetter(letters []bus.DeadLetter, id string) bool {
	return slices.ContainsFunc(letters, func(l bus.DeadLetter) bool { return l.ID == id })
}
