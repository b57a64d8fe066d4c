// Command baseline is a ledger without group commit, for comparison with the core. It has the same
// schema, the same route and the same token check, and uses one transaction for each request. It is
// written in the usual way: statements are prepared, and the wallet's row is locked. It supports
// only holds, answers a retry with 409, and publishes nothing. So it does less work than the core.
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
	addr := flags.String("http", "127.0.0.1:8090", "address of the API")
	pool := flags.Int("pool", 32, "database connections")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(getenv("REALTIME_JWT_HS256_SECRET"))})
	if err != nil {
		return err
	}

	ledger, err := openLedger(ctx, getenv("DATABASE_URL"), *pool)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.db.Close() }()

	mux := http.NewServeMux()
	mux.Handle("POST /v1/accounts/{account}/holds",
		&holdHandler{ledger: ledger, verifier: verifier})
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})

	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}

	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}

	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = server.Shutdown(stopping)
	if err != nil {
		return err
	}

	err = <-served
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
