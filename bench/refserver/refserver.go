// Package refserver runs a reference server, with which the gateway is compared. It provides the
// tail of the streams, the HTTP server and the admin listener of the gateway. So two measurements
// differ only in the delivery of events from memory to the clients.
package refserver

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// A Server sends deliveries to clients.
type Server interface {
	// Deliver sends a batch of the streams. It is called by one goroutine at a time.
	Deliver(b tail.Batch)
	// Handle registers the routes that clients connect to.
	Handle(mux *http.ServeMux)
}

// Main is the main function of a reference server. flags may contain more flags of the server.
func Main(name string, flags *flag.FlagSet, build func(*auth.Verifier) (Server, error)) {
	process.Main(name, func(ctx context.Context, args []string, getenv func(string) string) error {
		return run(ctx, args, getenv, flags, build)
	})
}

func run(
	ctx context.Context, args []string, getenv func(string) string, flags *flag.FlagSet,
	build func(*auth.Verifier) (Server, error),
) error {
	addr := flags.String("http", "127.0.0.1:8091", "address for clients")
	adminAddr := flags.String("admin", "127.0.0.1:9091",
		"address of health checks, metrics and profiles")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(getenv("REALTIME_JWT_HS256_SECRET"))})
	if err != nil {
		return err
	}

	rdb, err := redisconn.Open(getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	server, err := build(verifier)
	if err != nil {
		return err
	}

	admin := httpserver.NewAdmin()
	tail := tail.New(rdb, tail.Config{
		Keys:       bus.Keys{Namespace: getenv("REALTIME_NAMESPACE")},
		Pause:      4 * time.Millisecond, // the same as in internal/gateway
		Registerer: admin.Registry,
	})
	admin.AddCheck(httpserver.Check{Name: "streams", Ping: func(context.Context) error {
		select {
		case <-tail.CaughtUp():
			return nil
		default:
			return errors.New("the server must first read the older events")
		}
	}})
	mux := http.NewServeMux()
	server.Handle(mux)

	public, err := httpserver.Listen(ctx, "--http", *addr)
	if err != nil {
		return err
	}

	private, err := httpserver.Listen(ctx, "--admin", *adminAddr)
	if err != nil {
		return errors.Join(err, public.Close())
	}

	quiet := httpserver.Config{Logger: slog.New(slog.DiscardHandler)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return tail.Run(ctx, server.Deliver)
	})
	g.Go(func() error {
		return httpserver.Serve(ctx, public, mux, quiet)
	})
	g.Go(func() error {
		return httpserver.Serve(ctx, private, admin, quiet)
	})
	return g.Wait()
}
