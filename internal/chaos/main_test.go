package chaos

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// programs is the directory of the programs that run.
var programs string

var givenPrograms = flag.String("programs", "", "directory of other builds of core and gateway to run")

func TestMain(m *testing.M) {
	flag.Parse()
	if *givenPrograms != "" {
		programs = *givenPrograms
		goleak.VerifyTestMain(m)
		return
	}
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
