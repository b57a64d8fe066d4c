package exampletest

import (
	"context"
	"os"
	"syscall"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
)

const asProgram = "EXAMPLE_TEST_AS_PROGRAM"

// Main is a TestMain: the tests, or the program itself when Start has started it.
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	redislog.Disable()
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// Program is a running program.
type Program struct {
	*testenv.Process
	t testing.TB
}

// Start starts the program in a directory of its own.
func Start(t testing.TB, args ...string) Program {
	t.Helper()
	return Program{testenv.StartProcess(t, t.TempDir(), os.Args[0], args, []string{asProgram + "=1"}), t}
}

// Stop asks the program to end and wants its exit code to be 0.
func (p Program) Stop() {
	p.t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	<-p.Exited()
	if code := p.ExitCode(); code != 0 {
		p.t.Fatalf("exit code %d\n%s", code, p.Output())
	}
}

// While has run run while f does something, then ends its context and returns its error. It waits for run also when f
// ends the test.
func While(t testing.TB, run func(context.Context) error, f func()) error {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		defer close(done)
		done <- run(ctx)
	}()
	defer func() {
		stop()
		if err, more := <-done; more {
			t.Log("the program ended with: ", err)
		}
	}()
	f()
	stop()
	return <-done
}
