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

// Server is a redis-server process of one test, which the test may kill, suspend and start again.
// Its methods end the test if they fail. They must be called from one goroutine.
type Server struct {
	t       testing.TB
	program string
	args    []string
	port    int
	dir     string

	process *Process // nil when not running
}

// RedisServer starts a redis-server for this test on 127.0.0.1. It keeps no data on disk unless
// args change that ("--appendonly", "yes"). It is killed when the test ends, and when the test
// process dies. The program is TEST_REDIS_SERVER. Defaults to redis-server on PATH.
func RedisServer(t testing.TB, args ...string) *Server {
	t.Helper()

	s := &Server{t: t, program: findRedis(t), args: args, port: reservePort(t), dir: t.TempDir()}
	s.Start()
	return s
}

// findRedis returns the path of a redis-server.
func findRedis(t testing.TB) string {
	t.Helper()

	program := os.Getenv("TEST_REDIS_SERVER")
	if program == "" {
		found, err := exec.LookPath("redis-server")
		if err != nil {
			t.Fatal("no redis-server on PATH and TEST_REDIS_SERVER is not set: this test starts its own Redis.\n" +
				"Run ./scripts/test, or in your shell: eval \"$(./scripts/services up)\" (and later ./scripts/services down).")
		}

		program = found
	}

	return program
}

// Addr returns the server's host:port. Start after Kill uses the same one.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns redis://host:port/0.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// CLI returns the path of a redis-cli: the one beside the server's program, or the one on PATH.
func (s *Server) CLI() string {
	s.t.Helper()

	name := strings.Replace(filepath.Base(s.program), "-server", "-cli", 1) // also valkey-cli
	for _, program := range []string{filepath.Join(filepath.Dir(s.program), name), "redis-cli"} {
		found, err := exec.LookPath(program)
		if err == nil {
			return found
		}
	}

	s.t.Fatalf("no redis-cli beside %s or on PATH", s.program)
	return ""
}

// Start starts the server again on the same port after Kill, and returns when it answers. It is
// empty unless it keeps data on disk.
func (s *Server) Start() {
	s.t.Helper()

	if s.process != nil {
		s.t.Fatal("redis-server is running already")
	}

	args := []string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(s.port),
		"--dir", s.dir,
		"--save", "",
		"--appendonly", "no",
		"--daemonize", "no",
	}

	s.process = StartProcess(s.t, s.dir, s.program, append(args, s.args...), nil)
	s.waitUntilReady()
}

// Kill ends the server at once, as kill -9 does, and returns when it has ended.
func (s *Server) Kill() {
	s.t.Helper()
	s.requireRunning()
	s.process.Kill()
	s.process = nil
}

// Stop suspends the server until Continue or Kill. Its connections stay open, but it does not
// answer.
func (s *Server) Stop() {
	s.t.Helper()

	s.requireRunning()
	err := suspendProcess(s.process.process)
	if err != nil {
		s.t.Fatalf("suspend redis-server: %v", err)
	}
}

// Continue resumes the server after Stop.
func (s *Server) Continue() {
	s.t.Helper()

	s.requireRunning()
	err := resumeProcess(s.process.process)
	if err != nil {
		s.t.Fatalf("resume redis-server: %v", err)
	}
}

func (s *Server) requireRunning() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("redis-server is not running")
	}
}

func (s *Server) waitUntilReady() {
	s.t.Helper()

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()

	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for {
		err := s.sendPing()
		if err == nil {
			return
		}

		select {
		case <-tick.C:
		case <-s.process.Exited():
			s.t.Fatalf("redis-server ended while starting:\n%s", s.process.Output())
		case <-deadline.C:
			s.t.Fatalf("redis-server did not answer within %s: %v", timeout, err)
		}
	}
}

func (s *Server) sendPing() error {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()

	err = conn.SetDeadline(time.Now().Add(time.Second))
	if err != nil {
		return err
	}

	_, err = conn.Write([]byte("PING\r\n"))
	if err != nil {
		return err
	}

	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}

	if line != "+PONG\r\n" {
		return fmt.Errorf("got the answer %q to PING", line)
	}

	return nil
}
