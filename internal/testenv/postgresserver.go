//go:build unix

package testenv

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver
)

// PostgresServer is a Postgres of one test, which the test may crash, suspend, replicate and promote.
// Its methods end the test if they fail. They must be called from one goroutine.
type PostgresServer struct {
	t    testing.TB
	bin  string
	port int
	dir  string   // data directory
	env  []string // variables (NAME=value) beside those of the test

	process *Process // nil when not running
}

// postgresSettings are those of each server of a test. A process that is killed loses nothing that it
// has written, so fsync may be off.
var postgresSettings = []string{
	"listen_addresses=127.0.0.1",
	"fsync=off",
	"full_page_writes=off",
	"shared_buffers=32MB",
	"max_connections=100",
	"dynamic_shared_memory_type=mmap",
	"log_min_messages=warning",
	"wal_keep_size=64MB",
	"wal_sender_timeout=5s",
	"wal_receiver_timeout=5s",
	"wal_receiver_status_interval=1s",
	"wal_retrieve_retry_interval=200ms",
}

// NewPostgresServer starts an empty Postgres for this test on 127.0.0.1. Its user postgres needs no
// password. It is killed when the test ends, and when the test process dies.
func NewPostgresServer(t testing.TB) *PostgresServer {
	t.Helper()

	s := newPostgresServer(t)
	s.runProgram("initdb", "--pgdata="+s.dir, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	s.Start()
	return s
}

// NewStandby starts a standby that follows the server at an address. That is the address of this
// server, or of a proxy in front of it. The standby is asynchronous until RequireStandby.
func (s *PostgresServer) NewStandby(address string) *PostgresServer {
	s.t.Helper()

	standby := newPostgresServer(s.t)
	standby.copyFrom(address)
	standby.Start()
	return standby
}

// newPostgresServer returns a server whose data directory is empty.
func newPostgresServer(t testing.TB) *PostgresServer {
	t.Helper()

	// The user of Postgres must be able to enter the directory, and t.TempDir does not allow it.
	parent, err := os.MkdirTemp(os.Getenv("TEST_SERVICES_DIR"), "realtime-postgres-")
	if err != nil {
		t.Fatalf("make a directory for Postgres: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	err = os.Chmod(parent, 0o711)
	if err != nil {
		t.Fatal(err)
	}

	s := &PostgresServer{t: t, bin: findPostgres(t), port: reservePort(t), dir: filepath.Join(parent, "data")}
	s.makeDirectory()
	t.Cleanup(func() {
		if s.process != nil {
			s.Crash()
		}
	})
	return s
}

// makeDirectory makes the data directory, for the user that runs Postgres.
func (s *PostgresServer) makeDirectory() {
	s.t.Helper()

	err := os.Mkdir(s.dir, 0o700)
	if err != nil {
		s.t.Fatalf("make the data directory: %v", err)
	}

	user := postgresUser()
	if user == nil {
		return
	}

	err = os.Chown(s.dir, int(user.Uid), int(user.Gid))
	if err != nil {
		s.t.Fatalf("give the data directory to the user of Postgres: %v", err)
	}
}

// copyFrom fills the data directory with a copy of the server at the address, which the copy follows.
func (s *PostgresServer) copyFrom(address string) {
	s.t.Helper()
	s.runProgram("pg_basebackup", "--pgdata="+s.dir, "--dbname=postgres://postgres@"+address+"/postgres",
		"--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync")
}

// Rebuild replaces the data of a server that is not running, and starts it as a standby of the server
// at the address.
func (s *PostgresServer) Rebuild(address string) {
	s.t.Helper()

	if s.process != nil {
		s.t.Fatal("a running Postgres cannot be rebuilt; call Crash first")
	}

	err := os.RemoveAll(s.dir)
	if err != nil {
		s.t.Fatalf("remove the data directory: %v", err)
	}

	s.makeDirectory()
	s.copyFrom(address)
	s.Start()
}

// Addr returns the server's host:port.
func (s *PostgresServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the URL of a database of the server.
func (s *PostgresServer) URL(database string) string {
	return "postgres://postgres@" + s.Addr() + "/" + database + "?sslmode=disable"
}

// Start starts the server again after Crash or Stop, and returns when it accepts connections.
func (s *PostgresServer) Start() {
	s.t.Helper()

	if s.process != nil {
		s.t.Fatal("Postgres is running already")
	}

	args := []string{"-D", s.dir, "-p", strconv.Itoa(s.port), "-k", s.dir}
	for _, setting := range postgresSettings {
		args = append(args, "-c", setting)
	}

	s.process = s.startProgram("postgres", args...)
	s.waitFor("accepts connections", func() error { return s.queryOne(`SELECT 1`, new(int)) })
}

// Crash kills all processes of the server at once, as the end of its machine does. So no process can
// finish its work.
func (s *PostgresServer) Crash() {
	s.t.Helper()
	s.requireRunning()

	s.signalAll(syscall.SIGSTOP) // the postmaster cannot start another process meanwhile
	s.signalAll(syscall.SIGKILL)
	s.process.Kill()
	s.process = nil
}

// Stop ends the server as an operator does: connections are closed, and a standby gets all changes.
func (s *PostgresServer) Stop() {
	s.t.Helper()
	s.requireRunning()

	err := s.process.Signal(syscall.SIGINT)
	if err != nil {
		s.t.Fatalf("stop Postgres: %v", err)
	}

	select {
	case <-s.process.Exited():
	case <-time.After(timeout):
		s.signalAll(syscall.SIGKILL) // a standby that does not answer holds the stop up
	}
	s.process.Kill()
	s.process = nil
}

// Suspend stops all processes of the server until Continue. Its connections stay open, but it does
// not answer.
func (s *PostgresServer) Suspend() {
	s.t.Helper()
	s.requireRunning()
	s.signalAll(syscall.SIGSTOP)
}

// Continue resumes the server after Suspend.
func (s *PostgresServer) Continue() {
	s.t.Helper()
	s.requireRunning()
	s.signalAll(syscall.SIGCONT)
}

// Promote makes a standby the primary.
func (s *PostgresServer) Promote() {
	s.t.Helper()

	var promoted bool
	err := s.queryOne(`SELECT pg_promote(true, 60)`, &promoted)
	if err != nil || !promoted {
		s.t.Fatalf("promote the standby: got %t and error %v", promoted, err)
	}
}

// RequireStandby makes each commit wait for a standby, and returns when one is synchronous.
func (s *PostgresServer) RequireStandby() {
	s.t.Helper()

	s.Exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`)
	s.Exec(`SELECT pg_reload_conf()`)
	s.waitFor("has a synchronous standby", func() error {
		var count int
		err := s.queryOne(`SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'`, &count)
		if err == nil && count == 0 {
			return errors.New("no synchronous standby")
		}
		return err
	})
}

// Exec runs a statement in the database postgres.
func (s *PostgresServer) Exec(statement string) {
	s.t.Helper()

	err := s.TryExec(statement)
	if err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// TryExec runs a statement in the database postgres and returns its error.
func (s *PostgresServer) TryExec(statement string) error {
	return s.withDatabase(func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	})
}

// queryOne reads one value.
func (s *PostgresServer) queryOne(query string, into any) error {
	return s.withDatabase(func(ctx context.Context, db *sql.DB) error {
		return db.QueryRowContext(ctx, query).Scan(into)
	})
}

func (s *PostgresServer) withDatabase(call func(context.Context, *sql.DB) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	db, err := sql.Open("postgres", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	return call(ctx, db)
}

// waitFor waits until a check succeeds.
func (s *PostgresServer) waitFor(condition string, check func() error) {
	s.t.Helper()

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for {
		err := check()
		if err == nil {
			return
		}

		select {
		case <-tick.C:
		case <-s.process.Exited():
			s.t.Fatalf("Postgres ended:\n%s", s.process.Output())
		case <-deadline.C:
			s.t.Fatalf("not within %s: Postgres %s: %v\n%s", timeout, condition, err, s.process.Output())
		}
	}
}

func (s *PostgresServer) requireRunning() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("Postgres is not running")
	}
}

// startProgram starts a program of Postgres.
func (s *PostgresServer) startProgram(name string, args ...string) *Process {
	s.t.Helper()

	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = dieWithParent()
	runAs(cmd, postgresUser())
	return startCommand(s.t, cmd)
}

// runProgram runs a program of Postgres until it ends.
func (s *PostgresServer) runProgram(name string, args ...string) {
	s.t.Helper()

	p := s.startProgram(name, args...)
	<-p.Exited()
	if p.ExitCode() != 0 {
		s.t.Fatalf("%s failed:\n%s", name, p.Output())
	}
}
