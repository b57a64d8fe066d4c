// Command analytics counts events by minute, event type, reason and feature, and sums
// their points; it answers with JSON over HTTP.
//
// It shows how a subscriber counts each event once though it may get it several
// times: an event's id and what it adds to its minute go into the database in one statement,
// and an id that is there adds nothing. Events with two parties count once, since the
// bus leaves the second party's copy out.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/analytics
//	curl -s 'http://127.0.0.1:9092/minutes?type=wallet.escrow_held'
//	curl -s 'http://127.0.0.1:9092/minutes?from=2026-11-24T00:00:00Z&to=2026-11-25T00:00:00Z'
//	curl -s http://127.0.0.1:9092/metrics
//
// The minute is that of the event's timestamp, so an event that comes late counts where it
// belongs. Points are the events' amounts without sign; the reason says which way they
// went. Ids are remembered for --remember (7 days); an event that is older than that when it comes
// cannot be told from a repeat and becomes a dead letter instead of a wrong count. Each
// event is a commit that is synced to disk. One process has the SQLite file; more of
// them want the same two tables in Postgres, and a consumer name each.
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
	RedisURL   string        `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis that carries the events."`
	Namespace  string        `env:"NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int           `env:"PARTITIONS" default:"16" help:"Event streams, as the core has them."`
	File       string        `default:"analytics.db" help:"SQLite file with the counts."`
	Remember   time.Duration `default:"168h" help:"How long event ids are remembered, at least 1m; older events are not counted."`
	Listen     string        `default:"127.0.0.1:9092" help:"Where /minutes and /metrics are."`
}

func main() {
	redislog.Disable() // its errors reach us
	var f flags
	kong.Parse(&f, kong.Description("Count events and points by minute, type, reason and feature."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	if err := run(ctx, f); err != nil {
		slog.Error("analytics ends", "error", err)
		os.Exit(1)
	}
}

// run counts until ctx ends.
func run(ctx context.Context, f flags) (err error) {
	if f.Remember < time.Minute {
		return fmt.Errorf("--remember: %s is less than a minute", f.Remember)
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
	a := &analyst{counts, f.Remember}
	registry := prometheus.NewRegistry()
	b, err := consumer.New(rdb, bus.Config{
		Keys: bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions}, Group: "analytics",
		Consumer:   "analytics", // after a crash it gets at once what it had not finished
		Registerer: registry,
	})
	if err != nil {
		return err
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "minutes", Handler: a, Types: []string{
		wallet.EventEscrowHeld, wallet.EventEscrowSettled, wallet.EventEscrowRefunded,
		wallet.EventEscrowPartialSettled, wallet.EventBalanceUpdated,
	}}); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /minutes", a.minutes)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.Run(ctx) })
	g.Go(func() error { return a.forget(ctx) })
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}
