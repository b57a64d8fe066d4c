package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// tourStep is a part of the tour in README.md: commands, and the output that the page shows for them.
type tourStep struct {
	title    string
	commands string
	shown    string
}

// TestTourInREADME pastes the commands of the tour into one shell, beside a core dev with a new
// ledger. It compares their output with the output that README.md shows.
func TestTourInREADME(t *testing.T) {
	t.Parallel()
	steps := readTour(t, "../../README.md")
	outputs := runTour(t, steps, startDev(t))
	for i, step := range steps {
		t.Run(step.title, func(t *testing.T) {
			if !shownPattern(step.shown).MatchString(removeSpace(outputs[i])) {
				t.Errorf("output of\n%s\ngot:\n%s\nwant:\n%s", step.commands, outputs[i], step.shown)
			}
		})
	}
}

// TestTourShowsEachOutcome wants the tour to show a hold, its retry, both refusals, and all events in
// order.
func TestTourShowsEachOutcome(t *testing.T) {
	t.Parallel()
	var shown strings.Builder
	for _, step := range readTour(t, "../../README.md") {
		shown.WriteString(step.shown)
	}
	for _, want := range []string{
		`"operation":"hold"`,
		`Idempotent-Replayed: true`,
		`"status":422`,
		`"operation":"settle"`,
		`"status":409`,
		`"recovered":true`, `"chain":"`,
		`"seq":2,`, `"seq":3,`, `"seq":4,`, `"seq":5,`, `"seq":6,`,
	} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the tour in README.md does not show %s", want)
		}
	}
}

// readTour reads the steps between the tour markers of a page, which may have several tours. A step
// begins with a title in bold. It has a block of commands, and a block with their output unless they
// print nothing.
func readTour(t *testing.T, file string) []tourStep {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var steps []tourStep
	for _, part := range strings.Split(string(page), "<!-- tour -->")[1:] {
		tour, _, closed := strings.Cut(part, "<!-- /tour -->")
		if !closed {
			t.Fatalf("a tour in %s has no end", file)
		}
		steps = append(steps, readSteps(t, tour)...)
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no tour", file)
	}
	return steps
}

// readSteps reads the steps of one tour.
func readSteps(t *testing.T, tour string) []tourStep {
	t.Helper()
	var steps []tourStep
	for _, section := range strings.Split(tour, "\n**")[1:] {
		title, text, _ := strings.Cut(section, "**")
		blocks := codeBlock.FindAllStringSubmatch(text, -1)
		if len(blocks) == 0 || len(blocks) > 2 || blocks[0][1] != "sh" {
			t.Fatalf("step %q has no block of commands, or more than two blocks", title)
		}
		step := tourStep{title: strings.Trim(title, ".:"), commands: blocks[0][2]}
		if len(blocks) == 2 {
			step.shown = blocks[1][2]
		}
		steps = append(steps, step)
	}
	return steps
}

// codeBlock matches a fenced block: its language and its text.
var codeBlock = regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")

// startDev starts core dev on free ports. It returns the tour's addresses, each followed by the
// address in use.
func startDev(t *testing.T) (addresses []string) {
	t.Helper()
	api := testenv.FreeAddr(t)
	gateway := testenv.FreeAddr(t)
	args := []string{
		"dev", "--traffic", "5", "--data", t.TempDir(),
		"--http", api,
		"--gateway", gateway,
		"--admin", testenv.FreeAddr(t),
		"--gateway-admin", testenv.FreeAddr(t),
		"--redis", testenv.FreeAddr(t),
	}
	p := testenv.StartProcess(t, t.TempDir(), filepath.Join(programs, "core"), args, nil)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("core dev wrote:\n%s", lastBytes(p.Output(), 8<<10))
		}
	})

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !strings.Contains(p.Output(), "\nready\n") {
		select {
		case <-p.Exited():
			t.Fatalf("core dev ended while starting:\n%s", p.Output())
		case <-deadline:
			t.Fatalf("core dev is not ready within %s", patience)
		case <-tick.C:
		}
	}
	return []string{"127.0.0.1:8080", api, "127.0.0.1:8081", gateway}
}

// runTour runs the commands of all steps in one shell and returns the output of each step. The
// shell runs the built program in place of `go run ./cmd/core`.
func runTour(t *testing.T, steps []tourStep, addresses []string) []string {
	t.Helper()
	script := `go() { [ "$1 $2" = "run ./cmd/core" ] && shift 2 && "$CORE" "$@"; }` + "\n" + joinSteps(steps)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", strings.NewReplacer(addresses...).Replace(script))
	cmd.Env = append(os.Environ(), "CORE="+filepath.Join(programs, "core"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("run the tour: %v\n%s", err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("the tour wrote to standard error:\n%s", stderr.String())
	}
	return splitSteps(t, string(raw), steps)
}

const endOfStep = "=== end of step ==="

// joinSteps returns a shell script that runs the commands of all steps.
func joinSteps(steps []tourStep) string {
	var script strings.Builder
	for _, step := range steps {
		script.WriteString(step.commands)
		script.WriteString("echo '" + endOfStep + "'\n")
	}
	return script.String()
}

// splitSteps returns the output of each step.
func splitSteps(t testing.TB, output string, steps []tourStep) []string {
	t.Helper()
	outputs := strings.Split(output, endOfStep+"\n")
	if len(outputs) != len(steps)+1 {
		t.Fatalf("steps with an output: got %d, want %d", len(outputs)-1, len(steps))
	}
	return outputs
}

// shownPattern matches an output without white space. It allows any text at an ellipsis, and other
// ids, chains and times than the page's.
func shownPattern(shown string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(removeSpace(shown))
	pattern = strings.ReplaceAll(pattern, "…", `.*?`)
	pattern = shownID.ReplaceAllLiteralString(pattern, `[0-9a-f-]{36}`)
	pattern = shownChain.ReplaceAllLiteralString(pattern, `[0-9a-f]{16}`)
	pattern = shownTime.ReplaceAllLiteralString(pattern, `\d{4}-\d\d-\d\dT[\d:.]+Z`)
	return regexp.MustCompile(`^` + pattern + `$`)
}

var (
	shownID    = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	shownChain = regexp.MustCompile(`[0-9a-f]{16}`)
	// In a quoted pattern the point has a backslash.
	shownTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+\\?\.\d+Z`)
)

// removeSpace removes all white space: the page breaks long lines.
func removeSpace(s string) string { return strings.Join(strings.Fields(s), "") }
