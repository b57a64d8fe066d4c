package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// startPooler starts PgBouncer with its defaults in front of the world's database, and returns the
// URL that leads through it.
func (w *world) startPooler(mode string) string {
	w.Helper()
	u, err := url.Parse(w.databaseURL)
	if err != nil {
		w.Fatal(err)
	}
	login := "user=" + u.User.Username()
	if password, ok := u.User.Password(); ok {
		login += " password=" + password
	}
	addr := testenv.FreeAddr(w)
	host, port, _ := strings.Cut(addr, ":")
	config := fmt.Sprintf("[databases]\n* = host=%s port=%s %s\n[pgbouncer]\nlisten_addr = %s\nlisten_port = %s\n"+
		"auth_type = any\nunix_socket_dir =\npool_mode = %s\n", u.Hostname(), u.Port(), login, host, port, mode)
	dir := w.TempDir()
	path := filepath.Join(dir, "pgbouncer.ini")
	err = os.WriteFile(path, []byte(config), 0o600)
	if err != nil {
		w.Fatal(err)
	}
	args := []string{path}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", path} // it refuses to run as root
	}
	process := testenv.StartProcess(w, dir, findPooler(w), args, nil)
	u.Host = addr
	u.RawQuery = "sslmode=disable"
	w.waitUntil("PgBouncer accepts connections", func() bool {
		select {
		case <-process.Exited():
			w.Fatalf("PgBouncer ended:\n%s", process.Output())
		default:
		}
		return strings.Contains(process.Output(), "process up")
	})
	return u.String()
}

func findPooler(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path
		}
	}
	t.Fatal("pgbouncer must be on PATH or in /usr/sbin; on Debian: apt-get install pgbouncer")
	return ""
}

// TestPoolerInSessionMode runs a core behind PgBouncer with its default settings. All settings of the
// core's sessions are in force.
func TestPoolerInSessionMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore("--database-url", w.startPooler("session"))
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
				"--namespace", w.namespace, "--database-url", w.startPooler(mode)}
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
