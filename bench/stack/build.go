// Package stack builds and starts what is measured: the core, the baseline and
// gateways, each as a process of its own with its default settings.
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

// The module that the programs are built from.
const module = "github.com/redroomrewards/realtime"

// Root finds the directory of the module. The working directory must be in the
// module of the benchmarks.
func Root(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", fmt.Errorf("find the module %s (run this in bench/): %w", module, err)
	}
	return out, nil
}

// Build compiles a program of the repository into dir, in the module that it
// belongs to, so that it gets that module's versions of its dependencies.
func Build(ctx context.Context, root, path, dir string) (string, error) {
	program := filepath.Join(dir, filepath.Base(path))
	from, pkg := root, "./"+path
	if below, ok := strings.CutPrefix(path, "bench/"); ok {
		from, pkg = filepath.Join(root, "bench"), "./"+below
	}
	if _, err := os.Stat(filepath.Join(root, path, "go.mod")); err == nil {
		from, pkg = filepath.Join(root, path), "."
	}
	if _, err := output(ctx, from, "go", "build", "-o", program, pkg); err != nil {
		return "", fmt.Errorf("build %s: %w", path, err)
	}
	return program, nil
}

// Commit names the checked-out commit, with +dirty when files outside of bench/
// differ from it. It is empty outside of a repository.
func Commit(ctx context.Context, root string) string {
	commit, err := output(ctx, root, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return ""
	}
	changed, err := output(ctx, root, "git", "status", "--porcelain", "--", "cmd", "pkg", "internal", "go.mod")
	if err != nil || changed != "" {
		commit += "+dirty"
	}
	return commit
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
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
