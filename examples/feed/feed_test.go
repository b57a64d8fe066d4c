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

// fixture has event streams in Redis and an empty Postgres database.
type fixture struct {
	*exampletest.Streams
	t           *testing.T
	databaseURL string
	db          *sql.DB
}

func newFixture(t *testing.T) *fixture {
	t.Parallel()
	f := &fixture{
		Streams:     exampletest.NewStreams(t, "activity-feed"),
		t:           t,
		databaseURL: testenv.Postgres(t, testenv.Schema{}),
	}
	feed, err := openFeed(t.Context(), f.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = feed.db.Close() })
	f.db = feed.db
	return f
}

// publishSettlements publishes settlements e0, e1 … of seven users with one model.
func (f *fixture) publishSettlements(n int) {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = settlement(i)
	}
	f.Publish(events...)
}

// settlement returns event e<i>.
func settlement(i int) bus.Event {
	id := fmt.Sprint("e", i)
	return bus.Event{
		ID:      id,
		Type:    wallet.EventEscrowSettled,
		Account: fmt.Sprint("user:u", i%7),
		Amount:  5,
		Reason:  "performance_completed",
		Data:    fmt.Appendf(nil, `{"eventId":%q,"version":"1.0","timestamp":"2026-11-24T00:00:00.000Z"}`, id),
	}
}

// flags returns the flags with which the program reads the streams.
func (f *fixture) flags() flags {
	return flags{
		RedisURL:    f.URL,
		Namespace:   f.Keys.Namespace,
		Partitions:  f.Keys.Partitions,
		DatabaseURL: f.databaseURL,
	}
}

// count returns the number that a query selects.
func (f *fixture) count(query string) (n int) {
	f.t.Helper()
	if err := f.db.QueryRowContext(f.t.Context(), query).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// wantRows checks that the feed has one row for each of want events, and that no event is a dead
// letter.
func (f *fixture) wantRows(want int) {
	f.t.Helper()
	if got := f.count(`SELECT count(*) FROM activity_feed`); got != want {
		f.t.Errorf("got %d rows, want %d", got, want)
	}
	if got := f.count(`SELECT count(DISTINCT event_id) FROM activity_feed`); got != want {
		f.t.Errorf("got rows of %d events, want %d", got, want)
	}
	if got := f.count(`SELECT count(*) FROM activity_feed WHERE account LIKE 'model:%'`); got != 0 {
		f.t.Errorf("got %d rows of second parties, want 0", got)
	}
	if letters := f.DeadLetters(); len(letters) > 0 {
		f.t.Errorf("got dead letters %+v, want none", letters)
	}
}

func TestRedeliveredEventHasOneRow(t *testing.T) {
	f := newFixture(t)
	f.publishSettlements(100)
	for range 2 { // each round redelivers all events to a running process and to a new one
		err := exampletest.RunDuring(t, func(ctx context.Context) error { return run(ctx, f.flags()) }, func() {
			f.WaitAcknowledged()
			f.Redeliver()
			f.WaitAcknowledged()
		})
		if err != nil {
			t.Fatal(err)
		}
		f.wantRows(100)
		f.Redeliver()
	}
}

// Each event is handled twice: the first time the row is written, but the handler returns an error.
func TestHandlerThatFailsAfterTheInsertWritesOneRow(t *testing.T) {
	f := newFixture(t)
	b, err := consumer.New(f.Redis, bus.Config{Keys: f.Keys, Group: "activity-feed", FirstDelay: time.Millisecond, PauseAfter: -1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // protects calls
	calls := map[string]int{}
	handle := func(ctx context.Context, e *bus.Event) error {
		if err := (&feed{f.db}).Handle(ctx, e); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		calls[e.ID]++
		if calls[e.ID] == 1 {
			return errors.New("written, but not acknowledged")
		}
		return nil
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "feed", Types: eventTypes, Handler: bus.HandlerFunc(handle)}); err != nil {
		t.Fatal(err)
	}

	f.publishSettlements(100)
	if err := exampletest.RunDuring(t, b.Run, f.WaitAcknowledged); err != nil {
		t.Fatal(err)
	}
	if len(calls) != 100 {
		t.Errorf("got %d handled events, want 100", len(calls))
	}
	for id, n := range calls {
		if n != 2 {
			t.Errorf("%s: got %d calls of the handler, want 2", id, n)
		}
	}
	f.wantRows(100)
}

// The kill comes in the middle of an insert. The program starts again under the same consumer name.
func TestKilledProgramWritesOneRowPerEvent(t *testing.T) {
	f := newFixture(t)
	args := append(f.Args(), "--database-url", f.databaseURL, "--consumer", "feed-0")
	// A row of an uncommitted transaction with e99's id blocks the program's insert.
	tx, err := f.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	const blocker = `INSERT INTO activity_feed VALUES ('e99', 'x', 'user:x', 0, 0, '', now(), '{}')`
	if _, err := tx.ExecContext(t.Context(), blocker); err != nil {
		t.Fatal(err)
	}

	f.publishSettlements(99)
	p := exampletest.Start(t, args...)
	exampletest.WaitUntil(t, "99 rows are written", func() bool {
		return f.count(`SELECT count(*) FROM activity_feed`) == 99
	})
	f.Publish(settlement(99))
	exampletest.WaitUntil(t, "the insert of e99 waits", func() bool {
		return f.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	p.Kill()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	f.Redeliver() // all events, as if the program had died before it acknowledged any of them
	p = exampletest.Start(t, args...)
	f.WaitAcknowledged()
	p.Stop()
	f.wantRows(100)
}

func TestEventThatCannotBeStoredIsDeadLetterAfterOneAttempt(t *testing.T) {
	for _, tt := range []struct {
		name string
		data string
	}{
		{"timestamp is a number", `{"version":"1.0","timestamp":5}`},
		{"unknown version", `{"version":"2.0","timestamp":"2026-11-24T00:00:00Z"}`},
		{"NUL character", `{"version":"1.0","timestamp":"2026-11-24T00:00:00Z","metadata":"\u0000"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			b := membus.New(bus.Config{Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
			defer func() { _ = b.Close(t.Context()) }()
			if _, err := b.Subscribe(bus.Subscription{ID: "feed", Handler: &feed{f.db}}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Publish(t.Context(), bus.Event{Type: "t", Data: []byte(tt.data)}); err != nil {
				t.Fatal(err)
			}
			letters, err := b.DeadLetters().List(t.Context(), "", 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(letters) != 1 {
				t.Fatalf("got dead letters %+v, want one", letters)
			}
			if got := letters[0].Attempts; got != 1 {
				t.Errorf("got %d attempts, want 1", got)
			}
			f.wantRows(0)
		})
	}
}

func TestRunWithoutDatabaseFails(t *testing.T) {
	f := newFixture(t)
	flags := f.flags()
	flags.DatabaseURL = "postgres://" + testenv.FreeAddr(t) + "/none?sslmode=disable"
	if err := run(t.Context(), flags); err == nil {
		t.Error("got no error, want one")
	}
}
