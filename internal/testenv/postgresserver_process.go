//go:build unix

package testenv

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// postgresUser returns the user that runs Postgres, which refuses to run as root. It is nil if that is
// the user of the test.
func postgresUser() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}

	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}

		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}

		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

// runAs makes a command run as another user.
func runAs(cmd *exec.Cmd, user *syscall.Credential) {
	if user == nil {
		return
	}

	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = user
}

// signalAll sends a signal to the postmaster and then to its children, which are all the processes of
// the server.
func (s *PostgresServer) signalAll(signal syscall.Signal) {
	s.t.Helper()

	parent := s.process.process.Pid
	output, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		s.t.Fatalf("list the processes: %v", err)
	}

	_ = s.process.Signal(signal) // it may have ended
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}

		pid, err := strconv.Atoi(fields[0])
		if err == nil {
			_ = syscall.Kill(pid, signal) // it may have ended
		}
	}
}

// findPostgres returns the directory of the programs of Postgres.
func findPostgres(t testing.TB) string {
	t.Helper()

	var directories []string
	found, err := exec.LookPath("initdb")
	if err == nil {
		resolved, err := filepath.EvalSymlinks(found)
		if err == nil {
			directories = append(directories, filepath.Dir(resolved))
		}
	}

	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/opt/homebrew/opt/postgresql*/bin",
		"/var/cache/realtime/services/root/usr/lib/postgresql/*/bin",
		os.Getenv("HOME") + "/.cache/realtime/services/root/usr/lib/postgresql/*/bin",
	} {
		matches, _ := filepath.Glob(pattern) // the patterns are well formed
		slices.Reverse(matches)              // the newest first
		directories = append(directories, matches...)
	}

	for _, dir := range directories {
		_, err := os.Stat(filepath.Join(dir, "pg_basebackup"))
		if err == nil {
			return dir
		}
	}

	t.Fatal("initdb, postgres and pg_basebackup must be on PATH or in /usr/lib/postgresql/*/bin: this test starts its own Postgres.\n" +
		"On Debian: apt-get install postgresql")
	return ""
}
