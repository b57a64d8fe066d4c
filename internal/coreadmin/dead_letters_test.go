package coreadmin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

const lettersPerGroup = 5

// letterHarness is the admin API with two consumer groups, a.feed and b, that have dead letters.
type letterHarness struct {
	*harness
	healthy *atomic.Bool  // true: handlers succeed
	handled *atomic.Int32 // counts the events that were handled
}

// serveDeadLetters publishes events that fail in two groups, and waits for the dead letters.
func serveDeadLetters(t *testing.T) letterHarness {
	t.Helper()
	url, namespace := testenv.Redis(t)
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	h := letterHarness{
		harness: serveAdmin(t, coreadmin.Config{Redis: rdb, Keys: keys}, time.Minute),
		healthy: new(atomic.Bool),
		handled: new(atomic.Int32),
	}
	if got := len(h.listLetters("")); got != 0 {
		t.Errorf("got %d letters before the first event, want 0", got)
	}

	h.runGroup(rdb, keys, "a.feed")
	publisher := h.runGroup(rdb, keys, "b")
	for i := range lettersPerGroup {
		_, err := publisher.Publish(t.Context(), bus.Event{
			ID:      fmt.Sprint("e", i),
			Type:    "a",
			Account: fmt.Sprint("user:u", i),
			Data:    []byte(`{"n":1}`),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, func() bool { return len(h.listLetters("")) == 2*lettersPerGroup })
	return h
}

// runGroup runs a consumer group until the test ends. Its handler fails unless h.healthy is true.
func (h letterHarness) runGroup(rdb redis.UniversalClient, keys bus.Keys, group string) *consumer.Bus {
	h.Helper()
	b, err := consumer.New(rdb, bus.Config{Keys: keys, Group: group, Logger: quiet})
	if err != nil {
		h.Fatal(err)
	}
	handler := bus.HandlerFunc(func(context.Context, *bus.Event) error {
		if !h.healthy.Load() {
			return bus.Permanent(errors.New("handler failed"))
		}
		h.handled.Add(1)
		return nil
	})
	_, err = b.Subscribe(bus.Subscription{ID: "s", Handler: handler})
	if err != nil {
		h.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- b.Run(context.Background()) }()
	h.Cleanup(func() {
		err := errors.Join(b.Close(context.Background()), <-stopped)
		if err != nil {
			h.Error(err)
		}
	})
	return b
}

func (h letterHarness) listLetters(query string) []any {
	h.Helper()
	letters, ok := h.expectOK(http.MethodGet, "/admin/dead-letters"+query, "").json["deadLetters"].([]any)
	if !ok {
		h.Fatalf("%s: the answer has no list", query)
	}
	return letters
}

func TestListDeadLetters(t *testing.T) {
	h := serveDeadLetters(t)

	first := h.listLetters("?group=a.feed&limit=1")[0].(object)
	h.expectFields(first, object{
		"group":      "a.feed",
		"subscriber": "s",
		"error":      "handler failed",
		"attempts":   1.0,
		"eventType":  "a",
	})
	entry, _ := first["entry"].(object)
	h.expectFields(entry, object{"id": first["eventId"]})
	event, _ := first["event"].(object)
	h.expectFields(event, object{"n": 1.0})

	if got := len(h.listLetters("?group=nobody")); got != 0 {
		t.Errorf("unknown group: got %d letters, want 0", got)
	}
	firstID, _ := first["id"].(string)
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?after=x", "?group=b&after=" + firstID} {
		h.expectProblem(http.StatusBadRequest, "invalid_request", http.MethodGet, "/admin/dead-letters"+query, "")
	}
}

func TestDeadLetterPages(t *testing.T) {
	h := serveDeadLetters(t)
	for limit, wantNext := range map[int]bool{
		lettersPerGroup - 1: true,
		lettersPerGroup:     false,
		lettersPerGroup + 1: false,
	} {
		page := h.expectOK(http.MethodGet, fmt.Sprint("/admin/dead-letters?group=b&limit=", limit), "").json
		_, hasNext := page["next"]
		if hasNext != wantNext {
			t.Errorf("limit %d: got next %v, want one: %v", limit, page["next"], wantNext)
		}
		got := len(page["deadLetters"].([]any))
		want := min(limit, lettersPerGroup)
		if got != want {
			t.Errorf("limit %d: got %d letters, want %d", limit, got, want)
		}
	}

	ids := map[any]bool{}
	for after := ""; ; {
		page := h.expectOK(http.MethodGet, "/admin/dead-letters?limit=3&after="+after, "").json
		for _, letter := range page["deadLetters"].([]any) {
			ids[letter.(object)["id"]] = true
		}
		next, hasNext := page["next"].(string)
		if !hasNext {
			break
		}
		after = next
	}
	if len(ids) != 2*lettersPerGroup {
		t.Errorf("got %d letters on pages of 3, want %d", len(ids), 2*lettersPerGroup)
	}
}

func TestReplayDeadLetter(t *testing.T) {
	h := serveDeadLetters(t)
	id, _ := h.listLetters("?group=a.feed&limit=1")[0].(object)["id"].(string)
	replay := "/admin/dead-letters/" + id + "/replay"

	h.healthy.Store(true)
	h.expectFields(h.expectOK(http.MethodPost, replay, "").json, object{"replayed": true, "id": id})
	waitUntil(t, func() bool { return h.handled.Load() == 1 })
	if got := len(h.listLetters("?group=a.feed")); got != lettersPerGroup-1 {
		t.Errorf("got %d remaining letters, want %d", got, lettersPerGroup-1)
	}

	h.expectProblem(http.StatusNotFound, "dead_letter_not_found", http.MethodPost, replay, "")
	for _, unknown := range []string{"x", "b.0.1-1", "b.99.1-1"} {
		h.expectProblem(http.StatusNotFound, "dead_letter_not_found", http.MethodPost, "/admin/dead-letters/"+unknown+"/replay", "")
	}
}

// waitUntil polls a condition that has no signal.
func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !condition(); <-tick.C {
		if time.Since(start) > 5*time.Minute {
			t.Fatal("the condition was not met in five minutes")
		}
	}
}
