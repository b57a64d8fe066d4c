// Command tipjar is a backend that moves points: it takes tips from users for a model. It shows how
// to use the ledger client so that no tip is lost and none is taken twice.
//
// To try it, in three terminals:
//
//	go run ./cmd/core dev                                     # it prints TOKEN
//	REALTIME_CORE_TOKEN=$TOKEN go run ./examples/tipjar
//	curl -i 127.0.0.1:9094/tips -d '{"id":"tip-1","user":"demo","amount":5}'
//
// The app chooses the id of a tip and repeats the request with the same id until it has an answer.
// A tip is two operations, a hold and its settlement, and the id is the idempotency key of both. So
// if this program dies between them, the repeated request settles the hold that is there. Without
// a repeat, the hold expires after ten minutes, and the points return to the user.
//
// The client itself repeats what fails on the way to the core. If the core gives no answer for 20
// seconds, the app gets 503 and repeats the tip later.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/client"
)

type flags struct {
	CoreURL  string        `name:"core-url" default:"http://127.0.0.1:8080" help:"URL of the core."`
	Token    string        `name:"core-token" env:"REALTIME_CORE_TOKEN" required:"" help:"Token with the scopes wallet:hold and wallet:settle."`
	Model    string        `default:"demo" help:"Bare id of the model that earns the tips."`
	Listen   string        `default:"127.0.0.1:9094" help:"Address that serves /tips."`
	RetryFor time.Duration `default:"20s" help:"How long a call of the core is retried."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Description("Take tips from users for a model."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, f)
	if err != nil {
		slog.Error("tipjar failed", "error", err)
		os.Exit(1)
	}
}

// run takes tips until ctx ends. Tips on their way are completed.
func run(ctx context.Context, f flags) error {
	ledger, err := client.NewLedger(f.CoreURL, client.LedgerConfig{
		Token:    client.StaticToken(f.Token),
		RetryFor: f.RetryFor,
	})
	if err != nil {
		return err
	}
	defer ledger.Close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return err
	}

	jar := &jar{ledger: ledger, model: f.Model}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tips", jar.serveTip)
	server := &http.Server{
		Handler:        mux,
		ReadTimeout:    10 * time.Second,
		WriteTimeout:   2*f.RetryFor + time.Minute, // two calls of the core
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	var g errgroup.Group
	g.Go(func() error {
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), server.WriteTimeout)
		defer cancel()
		return server.Shutdown(stopping)
	})
	return g.Wait()
}
