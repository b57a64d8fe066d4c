// Package rival runs a server that the gateway is measured beside. It gets
// everything from it that is not its own business: the gateway's tail of the
// streams, its HTTP server and its admin listener. So what differs between two
// measurements is how events get from memory to the clients.
package rival

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
)

// A Rival carries deliveries to clients its own way.
type Rival interface {
	// Deliver takes a batch from the streams. It is called by one goroutine at a time.
	Deliver(b bus.Batch)
	// Handle adds where clients connect.
	Handle(mux *http.ServeMux)
}

// Main is a rival's main function. flags may hold further flags of its own.
func Main(name string, flags *flag.FlagSet, build func(*auth.Verifier) (Rival, error)) {
	process.Main(name, func(ctx context.Context, args []string, getenv func(string) string) error {
		return run(ctx, args, getenv, flags, build)
	})
}

func run(ctx context.Context, args []string, getenv func(string) string, flags *flag.FlagSet, build func(*auth.Verifier) (Rival, error)) error {
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
	tail := bus.NewTail(rdb, bus.TailConfig{
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
