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

// parallelTests is the default of -test.parallel. Most of the time the tests wait for a recovery.
// One of them takes 50 s in any case, so all of them start together.
const parallelTests = "16"

// programs is the directory of the built programs.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", parallelTests) // the flag exists
	}
	dir, err := buildPrograms()
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

// buildPrograms compiles both commands, with the race detector if the tests have it.
func buildPrograms() (string, error) {
	// ./scripts/test sets a directory that is always deleted. Defaults to the system's.
	dir, err := os.MkdirTemp(os.Getenv("TEST_SERVICES_DIR"), "realtime-e2e-")
	if err != nil {
		return "", err
	}
	const module = "github.com/redroomrewards/realtime"
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if hasRaceDetector() {
		args = append(args, "-race")
	}
	args = append(args, module+"/cmd/core", module+"/cmd/gateway")
	output, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, output)
	}
	return dir, nil
}

func hasRaceDetector() bool {
	info, found := debug.ReadBuildInfo()
	return found && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
