// Package stack builds and starts the measured servers: the core, the baseline, gateways and
// reference servers. Each is a process with its default settings.
package stack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is the path of the module of the programs.
const module = "github.com/redroomrewards/realtime"

// Root returns the directory of the module. The working directory must be in the module of the
// benchmarks.
func Root(ctx context.Context) (string, error) {
	out, err := runCommand(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", fmt.Errorf("find the module %s (run this in bench/): %w", module, err)
	}
	return out, nil
}

// Build compiles a program of the repository into outputDir. It compiles in the program's own
// module, with that module's versions of the dependencies.
func Build(ctx context.Context, root, path, outputDir string) (string, error) {
	program := filepath.Join(outputDir, filepath.Base(path))
	dir, pkg := moduleOf(root, path)
	_, err := runCommand(ctx, dir, "go", "build", "-o", program, pkg)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", path, err)
	}
	return program, nil
}

// moduleOf returns the module directory of a program, and the program's package in it.
func moduleOf(root, path string) (dir, pkg string) {
	_, err := os.Stat(filepath.Join(root, path, "go.mod"))
	if err == nil {
		return filepath.Join(root, path), "."
	}
	if name, ok := strings.CutPrefix(path, "bench/"); ok {
		return filepath.Join(root, "bench"), "./" + name
	}
	return root, "./" + path
}

// Commit returns the checked-out commit, with +dirty if the sources of the servers have changes. It
// is empty outside of a repository.
func Commit(ctx context.Context, root string) string {
	commit, err := runCommand(ctx, root, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return ""
	}

	changed, err := runCommand(ctx, root,
		"git", "status", "--porcelain", "--", "cmd", "pkg", "internal", "go.mod")
	if err != nil || changed != "" {
		commit += "+dirty"
	}
	return commit
}

// runCommand returns the trimmed output of a command.
func runCommand(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}
