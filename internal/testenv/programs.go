package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
)

// BuildPrograms compiles core and gateway into a new directory, which the caller deletes. They have
// the race detector if the tests have it.
func BuildPrograms() (dir string, err error) {
	// ./scripts/test sets a directory that is always deleted. Defaults to the system's.
	dir, err = os.MkdirTemp(os.Getenv("TEST_SERVICES_DIR"), "realtime-programs-")
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
		_ = os.RemoveAll(dir) // the build has failed anyway
		return "", fmt.Errorf("build the programs: %w\n%s", err, output)
	}

	return dir, nil
}

func hasRaceDetector() bool {
	info, found := debug.ReadBuildInfo()
	return found && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
