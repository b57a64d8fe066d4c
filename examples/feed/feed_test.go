package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// world is a Redis with events and an empty Postgres.
type world struct {
	*exampletest.Streams
	t   *testing.T
	url string // of the database
	db  *sql.DB
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{Streams: exampletest.NewStreams(t, "activity-feed"), t: t, url: testenv.Postgres(t, testenv.Schema{})}
	f, err := openFeed(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.db.Close() })
	w.db = f.db
	return w
}

// publish publishes settlements e0, e1 … of seven users with one model.
func (w *world) publish(n int) {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = settlement(i)
	}
	w.Publish(events...)
}

// settlement returns event e<i>.
func settlement(i int) bus.Event {
	id := fmt.Sprint("e", i)
	return bus.Event{
		ID: id, Type: wallet.EventEscrowSettled, Account: fmt.Sprint("user:u", i%7), Amount: 5, Reason: "performance_completed",
		Data: fmt.Appendf(nil, `{"eventId":%q,"version":"1.0","timestamp":"2026-11-24T00:00:00.000Z"}`, id),
	}
}

func (w *world) wantRows(want int) {
	w.t.Helper()
	var rows, ids, models int
	const count = `SELECT count(*), count(DISTINCT event_id), count(*) FILTER (WHERE account LIKE 'model:%') FROM activity_feed`
	if err := w.db.QueryRowContext(w.t.Context(), count).Scan(&rows, &ids, &models); err != nil {
		w.t.Fatal(err)
	}
	if rows != want || ids != want || models != 0 {
		w.t.Errorf("%d rows, %d events, %d rows of the copies; want %d, %d, 0", rows, ids, models, want, want)
	}
	if letters := w.DeadLetters(); len(letters) > 0 {
		w.t.Errorf("dead letters %+v", letters)
	}
}

// TestRedelivery has each event handled by a program that runs and by one that was started again.
func TestRedelivery(t *testing.T) {
	w := newWorld(t)
	w.publish(100)
	for range 2 {
		f := flags{RedisURL: w.URL, Namespace: w.Keys.Namespace, Partitions: w.Keys.Partitions, DatabaseURL: w.url}
		err := exampletest.While(t, func(ctx context.Context) error { return run(ctx, f) }, func() {
			w.Settled()
			w.Redeliver()
			w.Settled()
		})
		if err != nil {
			t.Fatal(err)
		}
		w.wantRows(100)
		w.Redeliver()
	}
}

// TestHandlerFailsAfterItsWork has every event handled twice: the first time the row is written and the answer lost.
func TestHandlerFailsAfterItsWork(t *testing.T) {
	w := newWorld(t)
	b, err := consumer.New(w.Redis, bus.Config{Keys: w.Keys, Group: "activity-feed", FirstDelay: time.Millisecond, PauseAfter: -1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // protects calls
	calls := map[string]int{}
	_, err = b.Subscribe(bus.Subscription{ID: "feed", Types: types, Handler: bus.HandlerFunc(func(ctx context.Context, e *bus.Event) error {
		if err := (&feed{w.db}).Handle(ctx, e); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if calls[e.ID]++; calls[e.ID] == 1 {
			return errors.New("written, but not acknowledged")
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	w.publish(100)
	if err := exampletest.While(t, b.Run, w.Settled); err != nil {
		t.Fatal(err)
	}
	for id, n := range calls {
		if n != 2 {
			t.Errorf("%s was handled %d times, want 2", id, n)
		}
	}
	if len(calls) != 100 {
		t.Errorf("%d events were handled", len(calls))
	}
	w.wantRows(100)
}

// TestKilled kills the program in the middle of a write, and starts it again under the same name.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	args := append(w.Args(), "--database-url", w.url, "--consumer", "feed-0")
	// A row of an uncommitted transaction with e99's id holds up its insert.
	tx, err := w.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	const blocker = `INSERT INTO activity_feed VALUES ('e99', 'x', 'user:x', 0, 0, '', now(), '{}')`
	if _, err := tx.ExecContext(t.Context(), blocker); err != nil {
		t.Fatal(err)
	}
	w.publish(99)
	p := exampletest.Start(t, args...)
	exampletest.Until(t, "99 rows are there", func() bool {
		return w.count(`SELECT count(*) FROM activity_feed`) == 99
	})
	w.Publish(settlement(99))
	exampletest.Until(t, "the insert of e99 waits", func() bool {
		return w.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	p.Kill()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.Redeliver() // also what the dead one had finished: as if it died before the acknowledgements
	p = exampletest.Start(t, args...)
	w.Settled()
	p.Stop()
	w.wantRows(100)
}

// count returns the number that a query selects.
func (w *world) count(query string) (n int) {
	w.t.Helper()
	if err := w.db.QueryRowContext(w.t.Context(), query).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestRefused wants what can never be written to become a dead letter at once.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	b := membus.New(bus.Config{Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = b.Close(t.Context()) }()
	if _, err := b.Subscribe(bus.Subscription{ID: "feed", Handler: &feed{w.db}}); err != nil {
		t.Fatal(err)
	}
	for i, data := range []string{
		`{"version":"1.0","timestamp":5}`,
		`{"version":"2.0","timestamp":"2026-11-24T00:00:00Z"}`,
		`{"version":"1.0","timestamp":"2026-11-24T00:00:00Z","metadata":"\u0000"}`,
	} {
		if _, err := b.Publish(t.Context(), bus.Event{Type: "t", Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
		letters, err := b.DeadLetters().List(t.Context(), "", 10)
		if err != nil || len(letters) != i+1 || letters[i].Attempts != 1 {
			t.Errorf("after %s: dead letters %+v, %v", data, letters, err)
		}
	}
	w.wantRows(0)
}

func TestNeedsItsDatabase(t *testing.T) {
	w := newWorld(t)
	f := flags{RedisURL: w.URL, Namespace: w.Keys.Namespace, Partitions: w.Keys.Partitions}
	f.DatabaseURL = "postgres://" + testenv.FreeAddr(t) + "/none?sslmode=disable"
	if err := run(t.Context(), f); err == nil {
		t.Error("run without a database returned no error")
	}
}
