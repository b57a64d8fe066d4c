// Package refserver runs a reference server: a server that the gateway is compared with. The
// package provides the gateway's tail of the streams, its HTTP server and its admin listener. So
// two measurements differ only in the way that events take from memory to the clients.
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

// A Server carries deliveries to clients in its own way.
type Server interface {
	// Deliver takes a batch from the streams. One goroutine calls it at a time.
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

func run(ctx context.Context, args []string, getenv func(string) string, flags *flag.FlagSet, build func(*auth.Verifier) (Server, error)) error {
	addr := flags.String("http", "127.0.0.1:8091", "where clients connect")
	adminAddr := flags.String("admin", "127.0.0.1:9091", "where health, metrics and profiles are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(getenv("JWT_HS256_SECRET"))})
	if err != nil {
		return err
	}
	rdb, err := redisconn.Open(getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	r, err := build(verifier)
	if err != nil {
		return err
	}
	admin := httpserver.NewAdmin()
	tail := tail.New(rdb, tail.Config{
		Keys: bus.Keys{Namespace: getenv("NAMESPACE")}, Pause: 4 * time.Millisecond, Registerer: admin.Registry, // as in internal/gateway
	})
	admin.AddCheck(httpserver.Check{Name: "streams", Ping: func(context.Context) error {
		select {
		case <-tail.CaughtUp():
			return nil
		default:
			return errors.New("still reading what was published before the start")
		}
	}})
	mux := http.NewServeMux()
	r.Handle(mux)

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
	g.Go(func() error { return tail.Run(ctx, r.Deliver) })
	g.Go(func() error { return httpserver.Serve(ctx, public, mux, quiet) })
	g.Go(func() error { return httpserver.Serve(ctx, private, admin, quiet) })
	return g.Wait()
}
