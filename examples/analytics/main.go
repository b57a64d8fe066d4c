package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/layout"
	"github.com/redroomrewards/realtime/internal/stages"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

func main() {
	redislog.Disable()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	return cli.Main(cli.Env{Context: ctx, Stdout: stdout, Stderr: stderr}, cli.App{
		Name: "analytics", Description: "Count events and points by minute, type, reason and feature.",
	}, &command{}, args, getenv)
}

type command struct {
	File     string        `default:"analytics.db" help:"SQLite file with the counts."`
	Remember time.Duration `default:"168h" help:"How long event ids are remembered; older events are not counted."`
	Group    string        `default:"analytics" help:"Consumer group."`
	HTTP     string        `name:"http" default:"127.0.0.1:9092" help:"Where /minutes, /healthz, /readyz and /metrics are."`
	cli.RedisFlags
	cli.LogFlags
}

// Run counts until ctx ends.
func (c *command) Run(env *cli.Env) (err error) {
	if c.Remember < time.Minute {
		return cli.Usage("--remember", "%s is less than a minute", c.Remember)
	}
	log, err := c.Logger(env.Stderr)
	if err != nil {
		return err
	}
	keys, err := c.Keys()
	if err != nil {
		return err
	}
	rdb, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	watch := layout.New(rdb, keys, layout.Config{Logger: log})
	if err := watch.Start(env.Context); err != nil {
		return err
	}
	counts, err := openCounts(env.Context, c.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { err = errors.Join(err, counts.db.Close()) }()

	admin := httpserver.NewAdmin(httpserver.Check{Name: "redis", Ping: watch.Check}, httpserver.Check{Name: "database", Ping: counts.db.PingContext})
	a := &analyst{
		counts: counts, remember: c.Remember, log: log,
		repeats: prometheus.NewCounter(prometheus.CounterOpts{Name: "analytics_repeats_total", Help: "Events that had been counted before."}),
	}
	if err := admin.Registry.Register(a.repeats); err != nil {
		return err
	}
	admin.Handle("GET /minutes", http.HandlerFunc(a.minutes))
	b, err := bus.NewRedis(rdb, bus.Config{Keys: keys, Group: c.Group, DrainTimeout: 3 * time.Second, Logger: log, Registerer: admin.Registry})
	if err != nil {
		return err
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "minutes", Handler: a, Types: []string{
		wallet.EventEscrowHeld, wallet.EventEscrowSettled, wallet.EventEscrowRefunded, wallet.EventEscrowPartialSettled, wallet.EventBalanceUpdated,
	}}); err != nil {
		return err
	}
	ln, err := httpserver.Listen(env.Context, "--http", c.HTTP)
	if err != nil {
		return err
	}
	return stages.Run(env.Context, b.Run, a.forget, watch.Run, func(ctx context.Context) error {
		return httpserver.Serve(ctx, ln, admin, httpserver.Config{Logger: log})
	})
}
