package testenv

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Server is a redis-server process of one test, for tests that kill it, stop it for a while, or start it again. Its
// methods end the test when they fail; they are for one goroutine.
type Server struct {
	t       testing.TB
	program string
	args    []string
	port    int
	dir     string

	process *Process // nil when not running
}

// RedisServer starts a redis-server of the test's own on 127.0.0.1, with nothing kept on disk unless args say so (for
// example "--appendonly", "yes", or "--replicaof", "127.0.0.1 6379"). It is killed when the test ends, and when the test
// process dies. The program is TEST_REDIS_SERVER, else redis-server on PATH.
func RedisServer(t testing.TB, args ...string) *Server {
	t.Helper()
	program := os.Getenv("TEST_REDIS_SERVER")
	if program == "" {
		found, err := exec.LookPath("redis-server")
		if err != nil {
			t.Fatal("no redis-server on PATH and TEST_REDIS_SERVER is not set: this test starts a Redis of its own.\n" +
				"Run ./scripts/test, or in your shell: eval \"$(./scripts/services up)\" (and later ./scripts/services down).")
		}
		program = found
	}
	s := &Server{t: t, program: program, args: args, port: freePort(t), dir: t.TempDir()}
	s.Start()
	return s
}

// Addr is the server's host:port; it stays the same over Kill and Start.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is redis://host:port/0.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// CLI is the path of a redis-cli: the one beside the server's program, else the one on PATH.
func (s *Server) CLI() string {
	s.t.Helper()
	name := strings.Replace(filepath.Base(s.program), "-server", "-cli", 1) // valkey's, too
	for _, program := range []string{filepath.Join(filepath.Dir(s.program), name), "redis-cli"} {
		if found, err := exec.LookPath(program); err == nil {
			return found
		}
	}
	s.t.Fatalf("no redis-cli beside %s or on PATH", s.program)
	return ""
}

// Start starts the server again on the same port after Kill, and returns when it answers. Without persistence it is empty.
func (s *Server) Start() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("redis-server is running already")
	}
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}
	s.process = StartProcess(s.t, s.dir, s.program, append(args, s.args...), nil)
	s.waitUntilReady()
}

// Kill ends the server at once, as kill -9 does, and returns when it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("redis-server is not running")
	}
	s.process.Kill()
	s.process = nil
}

// Stop freezes the server: connections stay open, nothing is answered, until Continue or Kill.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("redis-server is not running")
	}
	if err := freeze(s.process.process); err != nil {
		s.t.Fatalf("stop redis-server: %v", err)
	}
}

// Continue ends a Stop.
func (s *Server) Continue() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("redis-server is not running")
	}
	if err := thaw(s.process.process); err != nil {
		s.t.Fatalf("continue redis-server: %v", err)
	}
}

func (s *Server) waitUntilReady() {
	s.t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := s.ping()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.process.Exited():
			s.t.Fatalf("redis-server ended while starting:\n%s", s.process.Output())
		case <-deadline.C:
			s.t.Fatalf("redis-server does not answer after %s: %v", timeout, err)
		}
	}
}

func (s *Server) ping() error {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+PONG\r\n" {
		return fmt.Errorf("answered %q", line)
	}
	return nil
}
