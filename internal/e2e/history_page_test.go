package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandsInHistoryPage makes the situation of docs/history.md, pastes the commands of the page
// into one shell, and compares their output with the output that the page shows.
func TestCommandsInHistoryPage(t *testing.T) {
	t.Parallel()
	const user = "user:u1"
	w := newWorld(t)
	core := w.startCore()
	a := w.newAPI(core)
	a.mustDo(newCredit(user, 100))
	w.waitUntilPublished()
	backup := w.backUpLedger(core)
	a.mustDo(newCredit(user, 500))
	w.waitUntilPublished()
	w.restoreLedger(backup)
	a.waitUntilDone(newCredit(user, 7))
	w.waitForHashes(a.readTruths(user), core)

	steps := readTour(t, "../../docs/history.md")
	outputs := w.runHistoryPage(steps, core)
	for i, step := range steps {
		t.Run(step.title, func(t *testing.T) {
			if !shownPattern(step.shown).MatchString(removeSpace(outputs[i])) {
				t.Errorf("output of\n%s\ngot:\n%s\nwant:\n%s", step.commands, outputs[i], step.shown)
			}
		})
	}
}

// runHistoryPage runs the commands of all steps in one shell, and returns what a terminal shows for
// each step.
func (w *world) runHistoryPage(steps []tourStep, core *server) []string {
	w.Helper()
	script := `core() { "$CORE" "$@"; }` + "\n" + joinSteps(steps)
	script = strings.ReplaceAll(script, "localhost:9080", core.admin)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = w.TempDir()
	cmd.Env = append(cmd.Environ(),
		"CORE="+filepath.Join(programs, "core"),
		"DATABASE_URL="+w.databaseURL,
		"REDIS_URL="+w.redisURL,
		"REALTIME_NAMESPACE="+w.namespace)
	raw, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("run the commands of the page: %v\n%s", err, raw)
	}
	output := strings.ReplaceAll(string(raw), w.namespace+":", "rt:")
	return splitSteps(w, output, steps)
}
