package e2e

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// parallelTests is the default of -test.parallel. Most of the time the tests wait for a recovery. But
// each has several programs, and more tests at a time would make all of them slow.
const parallelTests = "8"

// programs is the directory of the built programs.
var programs string

func TestMain(m *testing.M) {
	testenv.SetParallel(parallelTests)
	dir, err := testenv.BuildPrograms()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // it is in a temporary directory
		os.Exit(code)
	}))
}
