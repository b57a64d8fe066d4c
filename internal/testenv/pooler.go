package testenv

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Pooler starts PgBouncer with its defaults and a pool_mode in front of the server of a database. It
// returns the URL that leads through it, without the parameters of the database's URL. PgBouncer is
// killed when the test ends, and when the test process dies.
func Pooler(t testing.TB, databaseURL, mode string) string {
	t.Helper()

	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}

	login := "user=" + u.User.Username()
	password, ok := u.User.Password()
	if ok {
		login += " password=" + password
	}

	addr := FreeAddr(t)
	host, port, _ := strings.Cut(addr, ":")
	config := fmt.Sprintf("[databases]\n* = host=%s port=%s %s\n[pgbouncer]\nlisten_addr = %s\nlisten_port = %s\n"+
		"auth_type = any\nunix_socket_dir =\npool_mode = %s\n", u.Hostname(), u.Port(), login, host, port, mode)
	dir := t.TempDir()
	path := filepath.Join(dir, "pgbouncer.ini")
	err = os.WriteFile(path, []byte(config), 0o600)
	if err != nil {
		t.Fatal(err)
	}

	args := []string{path}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", path} // it refuses to run as root
	}

	waitForPooler(t, StartProcess(t, dir, findPooler(t), args, nil))
	u.Host = addr
	u.RawQuery = "sslmode=disable"
	return u.String()
}

// waitForPooler returns when PgBouncer accepts connections.
func waitForPooler(t testing.TB, process *Process) {
	t.Helper()

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for !strings.Contains(process.Output(), "process up") {
		select {
		case <-tick.C:
		case <-process.Exited():
			t.Fatalf("PgBouncer ended:\n%s", process.Output())
		case <-deadline.C:
			t.Fatalf("PgBouncer did not start within %s:\n%s", timeout, process.Output())
		}
	}
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
