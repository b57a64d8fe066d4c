// Package archtest checks which packages of this module may import which:
// cmd -> internal -> pkg/realtime, wallet, ws, cache -> pkg/bus.
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
	// Between the packages of pkg.
	{"./pkg", nil, []string{"./cmd", "./examples"}, "commands and examples are imported by nobody"},
	{"./pkg/bus", nil, []string{"./pkg/wallet", "./pkg/ws", "./pkg/cache", "./pkg/realtime"}, "bus is below all others"},
	{"./pkg/wallet", nil, []string{"./pkg/ws", "./pkg/cache", "./pkg/realtime"}, "wallet knows only bus"},
	{"./pkg/ws", nil, []string{"./pkg/wallet", "./pkg/cache", "./pkg/realtime"}, "ws knows only bus"},
	{"./pkg/cache", nil, []string{"./pkg/wallet", "./pkg/ws", "./pkg/realtime"}, "cache knows only bus"},
	{"./pkg/realtime", nil, []string{"./pkg/ws"}, "realtime is the core, without a gateway"},

	// Other modules import pkg, so it stands on its own.
	{"./pkg", nil, []string{"./internal"}, "pkg never imports internal"},

	// Within bus: relay, tail, consumer, publish -> redisconn, bus/internal -> bus.
	{"./pkg/bus/internal", []string{
		"./pkg/bus/redisconn", "./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus",
	}, nil, "bus/internal knows only bus"},
	{"./pkg/bus/internal/dispatch", nil, []string{"github.com/redis/go-redis"}, "dispatching knows no Redis"},
	{"./pkg/bus/redisconn", []string{
		"./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus",
	}, nil, "a connection does not know what it is for"},
	{"./pkg/bus/publish", nil, []string{"./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus"}, "publishing reads nothing"},
	{"./pkg/bus/relay", nil, []string{"./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus"}, "the relay only publishes"},
	{"./pkg/bus/tail", nil, []string{"./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/consumer", "./pkg/bus/membus"}, "the tail only reads"},
	{"./pkg/bus/consumer", nil, []string{"./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/membus"}, "a consumer reads, and publishes its own events"},
	{"./pkg/bus/membus", nil, []string{"github.com/redis/go-redis"}, "the bus in memory needs no Redis"},

	// What the packages compile in.
	{"./pkg/wallet", nil, []string{"github.com/redis/go-redis"}, "the ledger knows no Redis"},
	{"./pkg/wallet", []string{"net/http"}, nil, "the ledger knows no HTTP"},
	{"./pkg/ws", nil, []string{"github.com/redis/go-redis"}, "the hub knows no Redis"},
	{
		"./pkg/ws", nil,
		[]string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"},
		"the gateway knows no SQL",
	},

	// Above pkg.
	{"./internal", nil, []string{"./cmd", "./examples"}, "commands and examples are imported by nobody"},
	{"./cmd", nil, []string{"./examples"}, "examples are imported by nobody"},
	{"./examples", []string{"./internal", "./cmd"}, nil, "an example can be copied out of the repository"},
}

// exact is like rule for one package alone, not those below it.
var exact = []rule{
	{"./pkg/bus", nil, []string{"github.com/redis/go-redis", "./pkg/bus"}, "bus is vocabulary: it compiles no Redis client and none of ours"},
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
		check(t, packages, r, below)
	}
	for _, r := range exact {
		check(t, packages, r, func(imported, path string) bool { return imported == module+strings.TrimPrefix(path, ".") })
	}
}

// check reports what the packages that match the rule's path must not know.
func check(t *testing.T, packages []listed, r rule, matches func(imported, path string) bool) {
	t.Helper()
	for _, p := range packages {
		if !matches(p.ImportPath, r.path) {
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
