package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
)

// BuildPrograms compiles core and gateway into a new directory, which the caller deletes. The flags
// are those of the tests: -race, and which packages are compiled without it.
func BuildPrograms() (dir string, err error) {
	// ./scripts/test sets a directory that is always deleted. Defaults to the system's.
	dir, err = os.MkdirTemp(os.Getenv("TEST_SERVICES_DIR"), "realtime-programs-")
	if err != nil {
		return "", err
	}

	const module = "github.com/redroomrewards/realtime"
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	args = append(args, BuildFlags()...)
	args = append(args, module+"/cmd/core", module+"/cmd/gateway")
	output, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(dir) // the build has failed anyway
		return "", fmt.Errorf("build the programs: %w\n%s", err, output)
	}

	return dir, nil
}

// BuildFlags returns the flags with which go test compiled the tests, as far as they concern the race
// detector. A program that is built with the same flags needs no second compilation of its packages.
func BuildFlags() []string {
	info, found := debug.ReadBuildInfo()
	if !found {
		return nil
	}

	var flags []string
	for _, setting := range info.Settings {
		switch setting.Key {
		case "-race", "-gcflags":
			flags = append(flags, setting.Key+"="+setting.Value)
		}
	}

	return flags
}
