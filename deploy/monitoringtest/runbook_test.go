package monitoringtest_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver

	"github.com/redroomrewards/realtime/internal/testenv"
)

// readRunbookCode returns the pieces of code in docs/runbook.md that begin with a word. A line break
// in one is a space, as on the page.
func readRunbookCode(t *testing.T, first string) []string {
	t.Helper()
	page := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(readFile(t, "docs/runbook.md")), "")
	var found []string
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(page, -1) {
		code := strings.Join(strings.Fields(match[1]), " ")
		if strings.HasPrefix(code, first) && !slices.Contains(found, code) {
			found = append(found, code)
		}
	}
	return found
}

// checkRunbookCommands runs the commands of the runbook that ask the programs. Each prints something.
func (in *installation) checkRunbookCommands() {
	in.Helper()
	addresses := strings.NewReplacer(
		"localhost:9080", in.core.metrics,
		"localhost:9081", in.gateway.metrics,
		"localhost:8081", in.gateway.http,
		"--group GROUP", "--group analytics",
	)
	env := append(os.Environ(),
		"PATH="+in.directory+":"+os.Getenv("PATH"),
		"REALTIME_JWT_HS256_SECRET="+secret,
		"REDIS_URL="+in.redis.URL(),
		"ADMIN_TOKEN="+in.sign("operator", "admin", time.Hour),
		"TOKEN="+in.sign("user:u1", "", time.Hour)+"x", // refused
	)
	commands := slices.Concat(
		[]string{"core token --sub operator --scope admin"},
		readRunbookCode(in.T, "curl -s"),
		readRunbookCode(in.T, "core dead-letters list"),
	)
	n := 0
	for _, command := range commands {
		asksPrometheus := strings.Contains(command, "localhost:9090")
		if asksPrometheus {
			continue
		}
		n++
		ctx, cancel := context.WithTimeout(in.Context(), patience)
		cmd := exec.CommandContext(ctx, "bash", "-c", "set -o pipefail; "+addresses.Replace(command))
		cmd.Env = env
		output, err := cmd.CombinedOutput()
		cancel()
		isUnknown := strings.Contains(string(output), `"code":"not_found"`)
		if err != nil || len(output) == 0 || isUnknown {
			in.Errorf("%s: got error %v and %q, want an answer", command, err, output)
		}
	}
	if n < 9 {
		in.Errorf("got %d commands in the runbook, want at least 9", n)
	}
}

// Postgres executes the statements of the runbook.
func TestRunbookStatements(t *testing.T) {
	db, err := sql.Open("postgres", testenv.Postgres(t, testenv.Schema{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	statements := readRunbookCode(t, "SELECT ")
	if len(statements) < 3 {
		t.Fatalf("got %d statements in the runbook, want at least 3", len(statements))
	}
	for _, statement := range statements {
		_, err := db.ExecContext(t.Context(), strings.Replace(statement, "PID", "0", 1))
		if err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// redisCLI runs redis-cli on the Redis of the installation.
func (in *installation) redisCLI(args ...string) string {
	in.Helper()
	ctx, cancel := context.WithTimeout(in.Context(), patience)
	defer cancel()
	_, port, _ := strings.Cut(in.redis.Addr(), ":")
	cmd := exec.CommandContext(ctx, filepath.Clean(in.redis.CLI()), append([]string{"-p", port}, args...)...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		in.Fatalf("redis-cli %v: %v: %s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}
