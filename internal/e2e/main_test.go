package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// parallel is how many tests run at once: most of their time they wait for what they broke to be mended. One takes 50 s
// whatever else happens, so all of them begin together.
const parallel = "16"

// programs is where the built programs are.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
		_ = flag.Set("test.parallel", parallel) // the flag is there
	}
	dir, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // what is left there is in a temporary directory
		os.Exit(code)
	}))
}

// build compiles both commands, with the race detector when the tests have it.
func build() (string, error) {
	// ./scripts/test names a directory that is deleted whatever happens; without one, the system's.
	dir, err := os.MkdirTemp(os.Getenv("TEST_SERVICES_DIR"), "realtime-e2e-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	const module = "github.com/redroomrewards/realtime"
	out, err := exec.Command("go", append(args, module+"/cmd/core", module+"/cmd/gateway")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, nil
}
