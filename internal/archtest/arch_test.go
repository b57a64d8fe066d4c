// Package archtest checks the dependencies between the packages of this module:
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

// rule forbids dependencies of the packages at and below a path. All fields are import paths. Those
// of this module start with "./".
type rule struct {
	path        string
	notImported []string // must not be in the packages' own imports
	notReached  []string // must not be compiled into the packages
	reason      string
}

var rules = []rule{
	// Between the packages of pkg.
	{"./pkg", nil, []string{"./cmd", "./examples"}, "commands and examples must not be imported"},
	{"./pkg/bus", nil, []string{"./pkg/wallet", "./pkg/ws", "./pkg/cache", "./pkg/realtime"}, "bus must not depend on the packages above it"},
	{"./pkg/wallet", nil, []string{"./pkg/ws", "./pkg/cache", "./pkg/realtime"}, "wallet must depend only on bus"},
	{"./pkg/ws", nil, []string{"./pkg/wallet", "./pkg/cache", "./pkg/realtime"}, "ws must depend only on bus"},
	{"./pkg/cache", nil, []string{"./pkg/wallet", "./pkg/ws", "./pkg/realtime"}, "cache must depend only on bus"},
	{"./pkg/realtime", nil, []string{"./pkg/ws"}, "realtime is the core and must not contain a gateway"},

	// Apps compile the client, so it must stay light.
	{
		"./pkg/client", nil,
		[]string{
			"./pkg/bus", "./pkg/wallet", "./pkg/ws", "./pkg/cache", "./pkg/realtime",
			"github.com/redis/go-redis", "github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite",
			"github.com/prometheus", "go.opentelemetry.io",
		},
		"the client must depend on no other package of this module and on no server's library",
	},

	// Other modules import pkg, and they cannot import internal.
	{"./pkg", nil, []string{"./internal"}, "pkg must not import internal"},

	// Within bus: relay, tail, consumer, publish -> redisconn, bus/internal -> bus.
	{"./pkg/bus/internal", []string{
		"./pkg/bus/redisconn", "./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus",
	}, nil, "bus/internal must depend only on bus"},
	{"./pkg/bus/internal/dispatch", nil, []string{"github.com/redis/go-redis"}, "dispatch must not depend on Redis"},
	{"./pkg/bus/redisconn", []string{
		"./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus",
	}, nil, "redisconn must not depend on its users"},
	{"./pkg/bus/publish", nil, []string{"./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus"}, "publish must not read"},
	{"./pkg/bus/relay", nil, []string{"./pkg/bus/tail", "./pkg/bus/consumer", "./pkg/bus/membus"}, "the relay must only publish"},
	{"./pkg/bus/tail", nil, []string{"./pkg/bus/publish", "./pkg/bus/relay", "./pkg/bus/consumer", "./pkg/bus/membus"}, "the tail must only read"},
	{"./pkg/bus/consumer", nil, []string{"./pkg/bus/relay", "./pkg/bus/tail", "./pkg/bus/membus"}, "a consumer must only read, and publish its own events"},
	{"./pkg/bus/membus", nil, []string{"github.com/redis/go-redis"}, "the bus in memory must not depend on Redis"},

	// Dependencies on other modules.
	{"./pkg/wallet", nil, []string{"github.com/redis/go-redis"}, "the ledger must not depend on Redis"},
	{"./pkg/wallet", []string{"net/http"}, nil, "the ledger must not depend on HTTP"},
	{"./pkg/ws", nil, []string{"github.com/redis/go-redis"}, "the hub must not depend on Redis"},
	{
		"./pkg/ws", nil,
		[]string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"},
		"the hub must not depend on SQL",
	},

	// Above pkg.
	{"./internal", nil, []string{"./cmd", "./examples"}, "commands and examples must not be imported"},
	{"./cmd", nil, []string{"./examples"}, "examples must not be imported"},
	{"./examples", []string{"./internal", "./cmd"}, nil, "an example must work outside of the repository"},
}

// exactRules apply to one package, not to the packages below it.
var exactRules = []rule{
	{"./pkg/bus", nil, []string{"github.com/redis/go-redis", "./pkg/bus"}, "bus must contain neither a Redis client nor other packages of this module"},
}

// listedPackage is a package in the output of go list.
type listedPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestDependenciesPointDown(t *testing.T) {
	packages := listPackages(t)
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	for _, r := range rules {
		checkRule(t, packages, r, isBelow)
	}
	isEqual := func(imported, path string) bool { return imported == module+strings.TrimPrefix(path, ".") }
	for _, r := range exactRules {
		checkRule(t, packages, r, isEqual)
	}
}

// checkRule reports the forbidden dependencies of the packages that match the rule's path.
func checkRule(t *testing.T, packages []listedPackage, r rule, matches func(imported, path string) bool) {
	t.Helper()
	for _, p := range packages {
		if !matches(p.ImportPath, r.path) {
			continue
		}
		for _, found := range forbiddenImports(p.Imports, r.notImported) {
			t.Errorf("%s imports %s: %s", p.ImportPath, found, r.reason)
		}
		for _, found := range forbiddenImports(p.Deps, r.notReached) {
			t.Errorf("%s reaches %s: %s", p.ImportPath, found, r.reason)
		}
	}
}

func TestForbiddenImportsAreFound(t *testing.T) {
	imports := []string{"fmt", module + "/pkg/wallet/wallettest", "github.com/redis/go-redis/v9", module + "/pkg/walletx"}
	got := forbiddenImports(imports, []string{"./pkg/wallet", "github.com/redis/go-redis"})
	want := []string{module + "/pkg/wallet/wallettest", "github.com/redis/go-redis/v9"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// forbiddenImports returns the imports at and below the paths.
func forbiddenImports(imports, paths []string) []string {
	var found []string
	for _, imported := range imports {
		if slices.ContainsFunc(paths, func(path string) bool { return isBelow(imported, path) }) {
			found = append(found, imported)
		}
	}
	return found
}

// isBelow reports whether an import path is path or is below it.
func isBelow(imported, path string) bool {
	if rest, ok := strings.CutPrefix(path, "."); ok {
		path = module + rest
	}
	return imported == path || strings.HasPrefix(imported, path+"/")
}

// listPackages returns the packages of this module, without those that only tests use.
func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	// With -e, a package that does not compile is not an error here. It fails its own tests.
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps", module+"/...")
	var problems bytes.Buffer
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	var packages []listedPackage
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p listedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("decode the output of go list: %v", err)
		}
		if strings.HasSuffix(p.ImportPath, "/bustest") {
			continue // this conformance suite needs the test servers
		}
		packages = append(packages, p)
	}
}
