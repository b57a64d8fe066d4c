package scenarios_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/play"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

// wait bounds how long a scenario waits for something that must happen.
const wait = 5 * time.Minute

// The Go client plays all scenarios. Those of the other clients are played by their own tests, with
// the same runner.
func TestGoClient(t *testing.T) {
	t.Parallel()
	suite := play.Suite{Command: []string{buildGoAdapter(t)}, Wait: wait, Adapters: 4}
	client, features, err := suite.Run(loadScenarios(t), func(r play.Result) {
		t.Run(r.Scenario.Name, func(t *testing.T) {
			if r.Missing != nil {
				t.Logf("not played: the client has no %s", strings.Join(r.Missing, ", "))
			}
			if r.Err != nil {
				t.Error(r.Err)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if client != "go" {
		t.Errorf("the client's name: got %q, want go", client)
	}
	if err := scenarios.CheckFeatures(client, features); err != nil {
		t.Error(err)
	}
}

func loadScenarios(t *testing.T) []script.Scenario {
	t.Helper()
	all, err := scenarios.Load()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// goAdapter builds the adapter once, with the race detector if the test has it.
var goAdapter = sync.OnceValues(func() (program string, err error) {
	if err := readSources("../../pkg/client"); err != nil {
		return "", err
	}
	args := []string{"build", "-o", filepath.Join(programs, "adapter")}
	if hasRaceDetector {
		args = append(args, "-race")
	}
	args = append(args, "github.com/redroomrewards/realtime/pkg/client/internal/scenarioadapter")
	output, err := exec.CommandContext(context.Background(), "go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return filepath.Join(programs, "adapter"), nil
})

// readSources reads the client's files, so that go test notices their changes. Otherwise it repeats
// the old result from its cache.
func readSources(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		_, err = os.ReadFile(path)
		return err
	})
}

// programs is a directory that is removed after the tests.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scenarios")
	if err != nil {
		panic(err)
	}
	programs = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func buildGoAdapter(t *testing.T) string {
	t.Helper()
	program, err := goAdapter()
	if err != nil {
		t.Fatal(err)
	}
	return program
}
