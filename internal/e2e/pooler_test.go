package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestPoolerInSessionMode runs a core behind PgBouncer with its default settings. All settings of the
// core's sessions are in force.
func TestPoolerInSessionMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore("--database-url", testenv.Pooler(t, w.databaseURL, "session"))
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	l := w.startLoad(8, []*api{a}, users, models)
	l.waitForWrites(200)
	l.checkNoneFailed()
	l.checkRetries(a)
	w.waitUntilPublished()
	w.waitUntilReadyz(core, "ready", "")
	w.checkAgreement(a, w.newStreamReader(), append(users, models...))
}

// TestPoolerInTransactionMode starts a core behind PgBouncer in the modes that share sessions. The
// core says what is wrong, and what to do.
func TestPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			args := []string{"serve", "--http", testenv.FreeAddr(w), "--admin", testenv.FreeAddr(w), "--redis-url", w.redisURL,
				"--namespace", w.namespace, "--database-url", testenv.Pooler(t, w.databaseURL, mode)}
			env := []string{"REALTIME_JWT_HS256_SECRET=" + secret}
			process := testenv.StartProcess(w, w.TempDir(), filepath.Join(programs, "core"), args, env)
			select {
			case <-process.Exited():
			case <-time.After(patience):
				t.Fatalf("the core runs behind a pooler in %s mode:\n%s", mode, process.Output())
			}
			if process.ExitCode() != 1 {
				t.Errorf("exit code: got %d, want 1", process.ExitCode())
			}
			for _, words := range []string{"pooler", "session mode"} {
				if !strings.Contains(process.Output(), words) {
					t.Errorf("output: got %q, want it to say %q", process.Output(), words)
				}
			}
		})
	}
}
