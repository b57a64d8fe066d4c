// Command core is the ledger: its HTTP API, the relay that carries committed
// events to Redis, migrations, and a mode for development that needs nothing else.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/internal/cli"
)

// gcPercent is the default of GOGC. A core keeps little and allocates much. With 400 its heap
// grows by four times what is in use before it is collected, instead of once.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	uuid.EnableRandPool() // each operation makes three; none is a secret
	redislog.Disable()    // plain lines on stderr; every failure reaches us as an error as well
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var commands struct {
		Serve   serveCmd       `cmd:"" help:"Run the ledger: HTTP API, relay to Redis, admin listener."`
		Dev     devCmd         `cmd:"" help:"Run everything in this one process, with an embedded ledger and Redis, and try it out."`
		Migrate migrateCmd     `cmd:"" help:"Bring the database's schema up to date, or show its state."`
		Verify  verifyCmd      `cmd:"" help:"Audit the ledger: balances, entries, seq, hash chains, escrows, idempotency keys, totals."`
		Export  exportCmd      `cmd:"" help:"Write an account's entries as CSV or JSON Lines."`
		Dead    deadLettersCmd `cmd:"" name:"dead-letters" help:"List, show and replay the events that subscribers failed to handle."`
		Token   tokenCmd       `cmd:"" help:"Print a token signed with a shared secret."`
		Version versionCmd     `cmd:"" help:"Print the version."`

		ShowVersion kong.VersionFlag `name:"version" help:"Print the version and exit."`
	}
	return cli.Main(cli.Env{Context: ctx, Stdout: stdout, Stderr: stderr}, cli.App{
		Name: "core",
		Vars: map[string]string{"devSecret": cli.DevSecret},
		Description: "The points ledger. Every flag has an environment variable of the same name in capitals with _ for -; flags win.\n\n" +
			"New here? `core dev` needs nothing but this program.",
	}, &commands, args, getenv)
}
