package coreadmin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func TestDeadLetters(t *testing.T) {
	url, namespace := testenv.Redis(t)
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	h := serveAdmin(t, coreadmin.Config{Redis: rdb, Keys: keys}, time.Minute)
	list := func(query string) []any {
		list, is := h.expectOK(http.MethodGet, "/admin/dead-letters"+query, "").json["deadLetters"].([]any)
		if !is {
			t.Fatalf("%s: no list", query)
		}
		return list
	}
	if n := len(list("")); n != 0 {
		t.Errorf("%d letters before there is anything", n)
	}

	// Two groups of which all handlers fail.
	const events = 5
	var healed atomic.Bool
	var handled atomic.Int32
	for _, group := range []string{"a.feed", "b"} {
		b, err := consumer.New(rdb, bus.Config{Keys: keys, Group: group, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Subscribe(bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
			if healed.Load() {
				handled.Add(1)
				return nil
			}
			return bus.Permanent(errors.New("no such luck"))
		})})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- b.Run(context.Background()) }()
		t.Cleanup(func() {
			if err := errors.Join(b.Close(context.Background()), <-ran); err != nil {
				t.Error(err)
			}
		})
		if group == "b" {
			for i := range events {
				if _, err := b.Publish(t.Context(), bus.Event{ID: fmt.Sprint("e", i), Type: "a", Account: fmt.Sprint("user:u", i), Data: []byte(`{"n":1}`)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	waitUntil(t, func() bool { return len(list("")) == 2*events })

	first := list("?group=a.feed&limit=1")[0].(object)
	entry, _ := first["entry"].(object)
	event, _ := first["event"].(object)
	if first["group"] != "a.feed" || first["subscriber"] != "s" || first["error"] != "no such luck" || first["attempts"] != 1.0 ||
		first["eventType"] != "a" || entry["id"] != first["eventId"] || event["n"] != 1.0 {
		t.Errorf("the first letter: %v", first)
	}
	for limit, want := range map[int]bool{events - 1: true, events: false, events + 1: false} {
		a := h.expectOK(http.MethodGet, fmt.Sprint("/admin/dead-letters?group=b&limit=", limit), "")
		if next, is := a.json["next"]; is != want || len(a.json["deadLetters"].([]any)) != min(limit, events) {
			t.Errorf("a page of %d letters of %d: next is %v", limit, events, next)
		}
	}
	seen, next := map[any]bool{}, ""
	for page := 0; page == 0 || next != ""; page++ {
		a := h.expectOK(http.MethodGet, "/admin/dead-letters?limit=3&after="+next, "")
		for _, l := range a.json["deadLetters"].([]any) {
			seen[l.(object)["id"]] = true
		}
		next, _ = a.json["next"].(string)
	}
	if len(seen) != 2*events {
		t.Errorf("pages of 3 showed %d of %d", len(seen), 2*events)
	}
	if n := len(list("?group=nobody")); n != 0 {
		t.Errorf("a group that is not there has %d letters", n)
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?after=x", "?group=b&after=" + first["id"].(string)} {
		h.expectProblem(http.StatusBadRequest, "invalid_request", http.MethodGet, "/admin/dead-letters"+query, "")
	}

	healed.Store(true)
	replay := "/admin/dead-letters/" + first["id"].(string) + "/replay"
	if a := h.expectOK(http.MethodPost, replay, ""); a.json["replayed"] != true || a.json["id"] != first["id"] {
		t.Errorf("replay answered %s", a.raw)
	}
	waitUntil(t, func() bool { return handled.Load() == 1 })
	h.expectProblem(http.StatusNotFound, "dead_letter_not_found", http.MethodPost, replay, "")
	for _, id := range []string{"x", "b.0.1-1", "b.99.1-1"} {
		h.expectProblem(http.StatusNotFound, "dead_letter_not_found", http.MethodPost, "/admin/dead-letters/"+id+"/replay", "")
	}
	if n := len(list("?group=a.feed")); n != events-1 {
		t.Errorf("%d letters are left", n)
	}
}

// waitUntil polls what nothing signals.
func waitUntil(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			t.Fatal("waited in vain")
		}
	}
}
