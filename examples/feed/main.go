// Command feed keeps an activity feed in Postgres: a table with exactly one row for
// each event of the ledger, however often the bus delivers it.
//
// The bus delivers at least once: a crash between the commit of the row and the
// acknowledgement brings the event again. The row's primary key is the event's id,
// so the second time nothing happens.
//
// To try it, with a Postgres of yours:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/feed --database-url 'postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable'
//	psql … -c 'SELECT happened_at, event_type, account, amount FROM activity_feed ORDER BY happened_at DESC LIMIT 10'
//
// Kill it in any way and start it again: it goes on where it was. Several may run at
// once and share the work. SIGTERM ends it when the events under way are written.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

type flags struct {
	RedisURL    string `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis that carries the events."`
	Namespace   string `env:"NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions  int    `env:"PARTITIONS" default:"16" help:"Event streams, as the core has them."`
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" required:"" help:"Postgres that holds the feed: postgres://…"`
	Consumer    string `env:"CONSUMER" help:"This process' name in the group, of no other. Absent: a new one at each start."`
}

func main() {
	redislog.Disable() // its errors reach us
	var f flags
	kong.Parse(&f, kong.Description("Keep an activity feed of the ledger's events in Postgres."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	if err := run(ctx, f); err != nil {
		slog.Error("feed ends", "error", err)
		os.Exit(1)
	}
}

// run feeds until ctx ends, and then returns when the events under way are written.
func run(ctx context.Context, f flags) error {
	feed, err := openFeed(ctx, f.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = feed.db.Close() }()
	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	b, err := consumer.New(rdb, bus.Config{
		Keys: bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions}, Group: "activity-feed", Consumer: f.Consumer,
	})
	if err != nil {
		return err
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "feed", Types: types, Handler: feed}); err != nil {
		return err
	}
	return b.Run(ctx)
}
