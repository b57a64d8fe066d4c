package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// world is a Redis with events and a program that counts them.
type world struct {
	*exampletest.Streams
	t     *testing.T
	flags flags
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{Streams: exampletest.NewStreams(t, "analytics"), t: t}
	w.flags = flags{
		RedisURL: w.URL, Namespace: w.Keys.Namespace, Partitions: w.Keys.Partitions,
		File: filepath.Join(t.TempDir(), "analytics.db"), Remember: 2 * time.Hour, Listen: testenv.FreeAddr(t),
	}
	return w
}

func (w *world) publish(id, kind, feature string, amount int64, at time.Time) {
	w.t.Helper()
	w.Publish(bus.Event{
		ID: id, Type: kind, Amount: amount, Reason: "r", Feature: feature,
		Data: fmt.Appendf(nil, `{"timestamp":%q}`, at.UTC().Format(bus.TimeFormat)),
	})
}

// while runs the program while f does something.
func (w *world) while(f func()) {
	w.t.Helper()
	if err := exampletest.While(w.t, func(ctx context.Context) error { return run(ctx, w.flags) }, f); err != nil {
		w.t.Fatal(err)
	}
}

// get asks the program.
func (w *world) get(query string) (status int, rows []row) {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.flags.Listen+"/minutes?"+query, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	var body struct {
		Minutes []row
		More    bool
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || body.More {
		w.t.Fatal(body, err)
	}
	return response.StatusCode, body.Minutes
}

func (w *world) expect(query string, want ...row) {
	w.t.Helper()
	if status, rows := w.get(query); status != http.StatusOK || !slices.Equal(rows, want) {
		w.t.Fatalf("%s: status %d\ngot  %v\nwant %v", query, status, rows, want)
	}
}

func TestCountsOnce(t *testing.T) {
	w := newWorld(t)
	second := time.Now().UTC().Truncate(time.Minute)
	first := second.Add(-time.Minute)
	w.publish("h1", "wallet.escrow_held", "wheel", 10, first)
	w.publish("h2", "wallet.escrow_held", "wheel", 5, first.Add(59*time.Second))
	w.publish("h3", "wallet.escrow_held", "", 1, first)
	w.publish("s1", "wallet.escrow_settled", "", 10, second)
	w.publish("o", "shop.opened", "", 10, second) // not the ledger's
	held := []row{{first, "wallet.escrow_held", "r", "", 1, 1}, {first, "wallet.escrow_held", "r", "wheel", 2, 15}}
	settled := row{second, "wallet.escrow_settled", "r", "", 1, 10}
	for range 3 { // each time it gets everything again, in a new process and in a running one
		w.while(func() {
			w.Settled()
			w.Redeliver()
			w.Settled()
			w.expect("", append(held, settled)...)
			w.expect("type=wallet.escrow_settled", settled)
			w.expect("to="+second.Format(time.RFC3339), held...)
			w.expect("from="+second.Format(time.RFC3339), settled)
			if status, _ := w.get("from=yesterday"); status != http.StatusBadRequest {
				t.Errorf("a time that is none: status %d", status)
			}
		})
		w.Redeliver()
	}
}

// TestKilled kills the program while it counts.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	args := append(w.Args(), "--file", w.flags.File, "--listen", w.flags.Listen)
	at := time.Now().UTC().Truncate(time.Minute)
	n := int64(0)
	publish := func() {
		n++
		w.publish(fmt.Sprint("e", n), "wallet.escrow_held", "", 2, at)
	}
	for round := range 4 {
		p := exampletest.Start(t, args...)
		read := w.Read()
		publish()
		exampletest.Until(t, "it reads", func() bool { return w.Read() > read })
		for range 40 + 10*round { // it is killed while it counts some of these
			publish()
		}
		p.Kill()
	}
	w.Redeliver()
	p := exampletest.Start(t, args...)
	w.Settled()
	w.expect("", row{at, "wallet.escrow_held", "r", "", n, 2 * n})
	p.Stop()
}

// TestForgottenIDs wants an event whose id may be forgotten as a dead letter, and its count left alone.
func TestForgottenIDs(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Minute)
	w.publish("old", "wallet.escrow_held", "", 1, now.Add(-3*time.Hour))
	w.publish("new", "wallet.escrow_held", "", 1, now)
	w.while(func() {
		w.Settled()
		w.expect("from=2020-01-01T00:00:00Z", row{now, "wallet.escrow_held", "r", "", 1, 1})
	})
	if letters := w.DeadLetters(); len(letters) != 1 || letters[0].Event.ID != "old" {
		t.Errorf("dead letters %+v", letters)
	}

	c, err := openCounts(t.Context(), filepath.Join(t.TempDir(), "counts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.db.Close() }()
	for range 2 {
		if err := c.add(t.Context(), event{id: "e", kind: "k", points: 3, at: now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.forget(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	rows, err := c.list(t.Context(), now, now.Add(time.Minute), "", 10)
	if err != nil || !slices.Equal(rows, []row{{now, "k", "", "", 1, 3}}) {
		t.Errorf("after the ids were dropped: %v, %v", rows, err)
	}
	var ids int
	if err := c.db.QueryRowContext(t.Context(), "SELECT count(*) FROM events").Scan(&ids); ids != 0 || err != nil {
		t.Errorf("%d ids, %v", ids, err)
	}
}
