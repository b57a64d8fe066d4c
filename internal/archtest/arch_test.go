// Package archtest checks which packages of this module may know which: cmd -> wallet, ws, cache -> bus.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/redroomrewards/realtime"

// rule says what the packages at and below a path must not know. Prefixes are import paths; those of this module are
// written with a leading "./".
type rule struct {
	path string
	// notImported is about the packages' own imports, notReached about everything that is compiled into them.
	notImported []string
	notReached  []string
	why         string
}

var rules = []rule{
	{"./pkg/bus", nil, []string{"./cmd", "./internal", "./pkg/wallet", "./pkg/ws", "./pkg/cache"}, "bus imports none of ours"},
	{"./pkg/wallet", nil, []string{"./cmd", "./internal", "./pkg/ws", "./pkg/cache"}, "wallet knows only bus"},
	// The event envelope of pkg/bus brings its Redis client with it, so only the direct imports are the ledger's.
	{"./pkg/wallet", []string{"github.com/redis/go-redis", "net/http"}, nil, "the ledger knows no Redis client and no HTTP"},
	{"./pkg/ws", nil, []string{"./cmd", "./internal", "./pkg/wallet", "./pkg/cache"}, "ws knows only bus"},
	{"./pkg/ws", []string{"github.com/redis/go-redis"}, nil, "the hub knows no Redis client"},
	{
		"./pkg/ws", nil,
		[]string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"},
		"the gateway knows no SQL",
	},
	{"./pkg/cache", nil, []string{"./cmd", "./internal", "./pkg/wallet", "./pkg/ws"}, "cache knows only bus"},
	{"./internal", nil, []string{"./cmd"}, "commands are imported by nobody"},
	{"./examples", []string{"./internal", "./cmd"}, nil, "an example can be copied out of the repository"},
	{"./pkg", nil, []string{"./examples"}, "examples are imported by nobody"},
	{"./internal", nil, []string{"./examples"}, "examples are imported by nobody"},
	{"./cmd", nil, []string{"./examples"}, "examples are imported by nobody"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestArrowsPointDown(t *testing.T) {
	packages := list(t)
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	for _, r := range rules {
		for _, p := range packages {
			if !below(p.ImportPath, r.path) {
				continue
			}
			for _, found := range forbidden(p.Imports, r.notImported) {
				t.Errorf("%s imports %s: %s", p.ImportPath, found, r.why)
			}
			for _, found := range forbidden(p.Deps, r.notReached) {
				t.Errorf("%s reaches %s: %s", p.ImportPath, found, r.why)
			}
		}
	}
}

func TestRulesFindWhatTheyForbid(t *testing.T) {
	imports := []string{"fmt", module + "/pkg/wallet/wallettest", "github.com/redis/go-redis/v9", module + "/pkg/walletx"}
	got := forbidden(imports, []string{"./pkg/wallet", "github.com/redis/go-redis"})
	want := []string{module + "/pkg/wallet/wallettest", "github.com/redis/go-redis/v9"}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

func forbidden(imports, paths []string) []string {
	var found []string
	for _, imported := range imports {
		if slices.ContainsFunc(paths, func(path string) bool { return below(imported, path) }) {
			found = append(found, imported)
		}
	}
	return found
}

// below reports whether an import path is path or lies below it.
func below(imported, path string) bool {
	if rest, ok := strings.CutPrefix(path, "."); ok {
		path = module + rest
	}
	return imported == path || strings.HasPrefix(imported, path+"/")
}

// list returns the packages of this module, without those that only tests use.
func list(t *testing.T) []listed {
	t.Helper()
	// -e: a package that does not compile fails its own tests, not this one.
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps", module+"/...")
	var problems bytes.Buffer
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	var packages []listed
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read go list's output: %v", err)
		}
		if strings.HasSuffix(p.ImportPath, "/bustest") {
			continue // this conformance suite needs the test servers
		}
		packages = append(packages, p)
	}
}
