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

// fixture has event streams in Redis and the flags of a program that counts the events.
type fixture struct {
	*exampletest.Streams
	t     *testing.T
	flags flags
}

func newFixture(t *testing.T) *fixture {
	t.Parallel()
	f := &fixture{Streams: exampletest.NewStreams(t, "analytics"), t: t}
	f.flags = flags{
		RedisURL:   f.URL,
		Namespace:  f.Keys.Namespace,
		Partitions: f.Keys.Partitions,
		File:       filepath.Join(t.TempDir(), "analytics.db"),
		Remember:   2 * time.Hour,
		Listen:     testenv.FreeAddr(t),
	}
	return f
}

func (f *fixture) publishEvent(id, eventType, feature string, amount int64, timestamp time.Time) {
	f.t.Helper()
	f.Publish(bus.Event{
		ID:      id,
		Type:    eventType,
		Amount:  amount,
		Reason:  "r",
		Feature: feature,
		Data:    fmt.Appendf(nil, `{"timestamp":%q}`, timestamp.UTC().Format(bus.TimeFormat)),
	})
}

// runDuring runs the program while do runs.
func (f *fixture) runDuring(do func()) {
	f.t.Helper()
	err := exampletest.RunDuring(f.t, func(ctx context.Context) error { return run(ctx, f.flags) }, do)
	if err != nil {
		f.t.Fatal(err)
	}
}

// getMinutes sends GET /minutes to the program.
func (f *fixture) getMinutes(query string) (status int, rows []row) {
	f.t.Helper()
	url := "http://" + f.flags.Listen + "/minutes?" + query
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		f.t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}

	var body struct {
		Minutes []row
		More    bool
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		f.t.Fatal(err)
	}
	if body.More {
		f.t.Fatal("got more = true, want false")
	}
	return response.StatusCode, body.Minutes
}

func (f *fixture) wantRows(query string, want ...row) {
	f.t.Helper()
	status, got := f.getMinutes(query)
	if status != http.StatusOK {
		f.t.Fatalf("GET /minutes?%s: got status %d, want 200", query, status)
	}
	if !slices.Equal(got, want) {
		f.t.Fatalf("GET /minutes?%s:\ngot  %v\nwant %v", query, got, want)
	}
}

func TestRedeliveredEventCountsOnce(t *testing.T) {
	f := newFixture(t)
	second := time.Now().UTC().Truncate(time.Minute)
	first := second.Add(-time.Minute)
	f.publishEvent("h1", "wallet.escrow_held", "wheel", 10, first)
	f.publishEvent("h2", "wallet.escrow_held", "wheel", 5, first.Add(59*time.Second))
	f.publishEvent("h3", "wallet.escrow_held", "", 1, first)
	f.publishEvent("s1", "wallet.escrow_settled", "", 10, second)
	f.publishEvent("o", "shop.opened", "", 10, second) // of another producer: not counted

	held := []row{{first, "wallet.escrow_held", "r", "", 1, 1}, {first, "wallet.escrow_held", "r", "wheel", 2, 15}}
	settled := row{second, "wallet.escrow_settled", "r", "", 1, 10}
	for range 3 { // each round redelivers all events to a running process and to a new one
		f.runDuring(func() {
			f.WaitAcknowledged()
			f.Redeliver()
			f.WaitAcknowledged()
			f.wantRows("", append(held, settled)...)
			f.wantRows("type=wallet.escrow_settled", settled)
			f.wantRows("to="+second.Format(time.RFC3339), held...)
			f.wantRows("from="+second.Format(time.RFC3339), settled)
			if status, _ := f.getMinutes("from=yesterday"); status != http.StatusBadRequest {
				t.Errorf("from=yesterday: got status %d, want 400", status)
			}
		})
		f.Redeliver()
	}
}

func TestKilledProgramCountsEachEventOnce(t *testing.T) {
	f := newFixture(t)
	args := append(f.Args(), "--file", f.flags.File, "--listen", f.flags.Listen)
	minute := time.Now().UTC().Truncate(time.Minute)
	n := int64(0)
	publish := func() {
		n++
		f.publishEvent(fmt.Sprint("e", n), "wallet.escrow_held", "", 2, minute)
	}
	for round := range 4 {
		p := exampletest.Start(t, args...)
		read := f.CountRead()
		publish()
		exampletest.WaitUntil(t, "the program reads", func() bool { return f.CountRead() > read })
		for range 40 + 10*round { // the kill comes while the program counts some of these
			publish()
		}
		p.Kill()
	}
	f.Redeliver()
	p := exampletest.Start(t, args...)
	f.WaitAcknowledged()
	f.wantRows("", row{minute, "wallet.escrow_held", "r", "", n, 2 * n})
	p.Stop()
}

func TestEventOlderThanRememberedIDsIsDeadLetter(t *testing.T) {
	f := newFixture(t)
	now := time.Now().UTC().Truncate(time.Minute)
	f.publishEvent("old", "wallet.escrow_held", "", 1, now.Add(-3*time.Hour))
	f.publishEvent("new", "wallet.escrow_held", "", 1, now)
	f.runDuring(func() {
		f.WaitAcknowledged()
		f.wantRows("from=2020-01-01T00:00:00Z", row{now, "wallet.escrow_held", "r", "", 1, 1})
	})
	letters := f.DeadLetters()
	if len(letters) != 1 || letters[0].Event.ID != "old" {
		t.Errorf("got dead letters %+v, want one of event old", letters)
	}
}

func TestDeleteIDsKeepsCounts(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Minute)
	c, err := openCounts(t.Context(), filepath.Join(t.TempDir(), "counts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.db.Close() }()
	for range 2 {
		if err := c.addEvent(t.Context(), event{id: "e", eventType: "k", points: 3, time: now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.deleteIDs(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}

	got, err := c.listRows(t.Context(), now, now.Add(time.Minute), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if want := []row{{now, "k", "", "", 1, 3}}; !slices.Equal(got, want) {
		t.Errorf("got rows %v, want %v", got, want)
	}
	var ids int
	if err := c.db.QueryRowContext(t.Context(), "SELECT count(*) FROM events").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	if ids != 0 {
		t.Errorf("got %d event ids, want 0", ids)
	}
}
