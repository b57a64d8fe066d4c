// Command gateway delivers committed events to clients over WebSocket and server-sent events.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/internal/cli"
)

// gcPercent is the default of GOGC. With 200 the heap grows by twice what is in use before it is
// collected, instead of once. Each collection delays deliveries.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	redislog.Disable() // its unformatted lines repeat errors that the client returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// grammar has the commands.
type grammar struct {
	Serve  serveCmd  `cmd:"" help:"Run a gateway: WebSocket, server-sent events, balances over HTTP, admin listener."`
	Doctor doctorCmd `cmd:"" like:"serve" help:"Check what gateway serve would use: Redis, rights, clocks, layout, tokens, and the core."`

	cli.Common
}

// describeApp returns the name and the help of the program.
func describeApp() cli.App {
	return cli.App{
		Name:       "gateway",
		NewGrammar: func() any { return &grammar{} },
		Description: "Live balances and events over WebSocket. The help of a flag names its environment variable: " +
			"REALTIME_ and the flag's name in capitals, with _ instead of -. A flag overrides its variable.\n\n" +
			"To try it out, run core dev: it runs everything in one process.",
	}
}

// run is main without the process. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	env := cli.Env{Context: ctx, Environ: environ, Stdout: stdout, Stderr: stderr}
	return cli.Main(env, describeApp(), args)
}
