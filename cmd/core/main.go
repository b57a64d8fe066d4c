// Command core is the ledger: its HTTP API, the relay that publishes committed events to Redis,
// migrations, and a mode for development that runs everything in one process.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/google/uuid"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/internal/cli"
)

// gcPercent is the default of GOGC. A core keeps little memory and allocates much. With 400 its heap
// grows by four times what is in use before it is collected, instead of once.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	uuid.EnableRandPool() // each operation makes three UUIDs, and none is a secret
	redislog.Disable()    // its unformatted lines repeat errors that the client returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// grammar has the commands.
type grammar struct {
	Serve   serveCmd       `cmd:"" help:"Run the ledger: HTTP API, relay to Redis, admin listener."`
	Dev     devCmd         `cmd:"" help:"Run everything in one process, with an embedded ledger and Redis, to try it out."`
	Migrate migrateCmd     `cmd:"" help:"Apply migrations to the database, or list them."`
	Verify  verifyCmd      `cmd:"" help:"Verify the ledger: balances, entries, seq, hash chains, escrows, idempotency keys, totals."`
	Doctor  doctorCmd      `cmd:"" like:"serve" help:"Check what core serve would use: database, Redis, rights, clocks, layout, tokens, and gateways."`
	Export  exportCmd      `cmd:"" help:"Write an account's entries as CSV or JSON Lines."`
	Replay  replayCmd      `cmd:"" help:"Give all events of the ledger to a consumer group again, or write them to a file."`
	Dead    deadLettersCmd `cmd:"" name:"dead-letters" help:"List, show and replay the events that subscribers failed to handle."`
	Token   tokenCmd       `cmd:"" help:"Print a token signed with a shared secret."`

	cli.Common
}

// describeApp returns the name and the help of the program.
func describeApp() cli.App {
	return cli.App{
		Name:       "core",
		NewGrammar: func() any { return &grammar{} },
		Vars:       map[string]string{"devSecret": cli.DevSecret},
		Description: "The points ledger. The help of a flag names its environment variable: REALTIME_ and the flag's name in capitals, with _ " +
			"instead of -. A flag overrides its variable.\n\n" +
			"To try it out, run core dev: it needs no other program.",
	}
}

// run is main without the process. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	env := cli.Env{Context: ctx, Environ: environ, Stdout: stdout, Stderr: stderr}
	return cli.Main(env, describeApp(), args)
}
