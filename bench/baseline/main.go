// Command baseline is what group commit is measured against: the same schema,
// the same route, the same token check, and a transaction for each request,
// written the way it is usually written, with statements prepared and the wallet's
// row locked. It knows holds only, answers repeats with 409, and publishes
// nothing: it does less than the core.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/internal/auth"
)

func main() { process.Main("baseline", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	flags := flag.NewFlagSet("baseline", flag.ContinueOnError)
	addr := flags.String("http", "127.0.0.1:8090", "where the API listens")
	pool := flags.Int("pool", 32, "database connections")
	if err := flags.Parse(args); err != nil {
		return err
	}
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(getenv("JWT_HS256_SECRET"))})
	if err != nil {
		return err
	}
	ledger, err := openLedger(ctx, getenv("DATABASE_URL"), *pool)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.db.Close() }()

	mux := http.NewServeMux()
	mux.Handle("POST /v1/accounts/{account}/holds", &holds{ledger: ledger, verifier: verifier})
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return err
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
