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

// programVariable tells a test binary that Start has started it as the program.
const programVariable = "EXAMPLE_TEST_AS_PROGRAM"

// Main is a TestMain. It runs the tests, or main if Start has started this process.
func Main(m *testing.M, main func()) {
	if os.Getenv(programVariable) != "" {
		main()
		os.Exit(0)
	}

	redislog.Disable()
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after
	// its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// Program is a running program.
type Program struct {
	*testenv.Process
	t testing.TB
}

// Start starts the program in a temporary directory.
func Start(t testing.TB, args ...string) Program {
	t.Helper()
	p := testenv.StartProcess(t, t.TempDir(), os.Args[0], args, []string{programVariable + "=1"})
	return Program{Process: p, t: t}
}

// Stop asks the program to stop. Its exit code must be 0.
func (p Program) Stop() {
	p.t.Helper()

	err := p.Signal(syscall.SIGTERM)
	if err != nil {
		p.t.Fatalf("stop the program: %v", err)
	}

	<-p.Exited()
	if code := p.ExitCode(); code != 0 {
		p.t.Fatalf("exit code: got %d, want 0\n%s", code, p.Output())
	}
}

// RunDuring calls run in the background while f runs, then cancels its context and returns its
// error. It also waits for run if f ends the test.
func RunDuring(t testing.TB, run func(context.Context) error, f func()) error {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- run(ctx)
	}()
	defer func() {
		stop()
		err, isFirst := <-ended
		if isFirst {
			t.Log("the program ended with: ", err)
		}
	}()
	f()
	stop()
	return <-ended
}
