// Command analytics counts events by minute, event type, reason and feature, and adds up their
// points. It serves the counts as JSON over HTTP.
//
// It shows how a subscriber counts each event once, although the bus may deliver the event several
// times. One SQL statement inserts the event's id and adds the event to its minute. If the id
// exists already, the statement changes nothing. An event with two parties counts once, because the
// bus leaves out the second party's copy.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/analytics
//	curl -s 'http://127.0.0.1:9092/minutes?type=wallet.escrow_held'
//	curl -s 'http://127.0.0.1:9092/minutes?from=2026-11-24T00:00:00Z&to=2026-11-25T00:00:00Z'
//	curl -s http://127.0.0.1:9092/metrics
//
// The minute is the minute of the event's timestamp, so a late event counts in the right minute.
// Points are the amounts of the events, without sign. The reason shows the direction.
//
// The program remembers event ids for --remember (7 days). It cannot know whether an older event is
// a duplicate. An older event therefore becomes a dead letter and is not counted.
//
// Each event is one commit that is synced to disk. Only one process may use the SQLite file. For
// several processes, put the same two tables into Postgres and give each process its own consumer
// name.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	redislog "github.com/redis/go-redis/v9/logging"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type flags struct {
	RedisURL   string        `name:"redis-url" env:"REALTIME_REDIS_URL,REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis server with the event streams."`
	Namespace  string        `env:"REALTIME_NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int           `env:"REALTIME_PARTITIONS" default:"64" help:"Number of event streams, the same as in the core."`
	File       string        `default:"analytics.db" help:"SQLite file with the counts."`
	Remember   time.Duration `default:"168h" help:"How long event ids are remembered, at least 1m. Older events are not counted."`
	Listen     string        `default:"127.0.0.1:9092" help:"Address that serves /minutes and /metrics."`
}

// eventTypes are the events that the program counts.
var eventTypes = []string{
	wallet.EventEscrowHeld,
	wallet.EventEscrowSettled,
	wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled,
	wallet.EventBalanceUpdated,
}

func main() {
	redislog.Disable() // go-redis returns its errors to the caller as well
	var f flags
	kong.Parse(&f, kong.Description("Count events and points by minute, type, reason and feature."))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, f)
	if err != nil {
		slog.Error("analytics failed", "error", err)
		os.Exit(1)
	}
}

// run counts events until ctx ends.
func run(ctx context.Context, f flags) (err error) {
	if f.Remember < time.Minute {
		return fmt.Errorf("--remember must be at least 1m, but is %s", f.Remember)
	}

	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	counts, err := openCounts(ctx, f.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { err = errors.Join(err, counts.db.Close()) }()

	a := &analyst{counts: counts, remember: f.Remember}
	registry := prometheus.NewRegistry()
	b, err := consumer.New(rdb, bus.Config{
		Keys:       bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions},
		Group:      "analytics",
		Consumer:   "analytics", // the same name after a crash: the unfinished events come again at once
		Registerer: registry,
	})
	if err != nil {
		return err
	}

	_, err = b.Subscribe(bus.Subscription{
		ID:      "minutes",
		Types:   eventTypes,
		Handler: a,
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /minutes", a.serveMinutes)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:        mux,
		ReadTimeout:    10 * time.Second,
		WriteTimeout:   20 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return b.Run(ctx)
	})
	g.Go(func() error {
		return a.deleteOldIDs(ctx)
	})
	g.Go(func() error {
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}
