// Command feed keeps an activity feed in Postgres. The table has exactly one row for each event of
// the ledger, although the bus may deliver an event several times.
//
// The bus delivers at least once. If the program crashes after the commit of a row and before the
// acknowledgement, the event comes again. The event's id is the primary key of the row, so the
// second insert changes nothing.
//
// To try it with your own Postgres:
//
//	go run ./cmd/core dev --traffic 5
//	export DATABASE_URL='postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable'
//	go run ./examples/feed
//	psql "$DATABASE_URL" -c 'SELECT happened_at, event_type, account, amount FROM activity_feed ORDER BY happened_at DESC LIMIT 10'
//
// You can kill the program at any time. After a restart it continues with the first event that it
// has not acknowledged. Several processes can run at the same time and share the work. On SIGTERM
// it finishes the events that it has begun and then exits.
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
	RedisURL    string `name:"redis-url" env:"REALTIME_REDIS_URL,REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis server with the event streams."`
	Namespace   string `env:"REALTIME_NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions  int    `env:"REALTIME_PARTITIONS" default:"64" help:"Number of event streams, the same as in the core."`
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" required:"" help:"Postgres database for the feed: postgres://…"`
	Consumer    string `env:"REALTIME_CONSUMER" help:"Name of this process in the consumer group. No two processes may share a name. Default: a new name at each start."`
}

func main() {
	redislog.Disable() // go-redis returns its errors to the caller as well
	var f flags
	kong.Parse(&f, kong.Description("Keep an activity feed of the ledger's events in Postgres."))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, f)
	if err != nil {
		slog.Error("feed failed", "error", err)
		os.Exit(1)
	}
}

// run writes events into the feed until ctx ends. It returns when the events that it has begun are
// written.
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
		Keys:     bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions},
		Group:    "activity-feed",
		Consumer: f.Consumer,
	})
	if err != nil {
		return err
	}

	_, err = b.Subscribe(bus.Subscription{
		ID:      "feed",
		Types:   eventTypes,
		Handler: feed,
	})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}
