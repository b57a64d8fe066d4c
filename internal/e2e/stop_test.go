package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestProgramsStopWhileTheyStart sends SIGTERM to programs that wait for a server. They were asked
// to stop, so the exit code is 0.
func TestProgramsStopWhileTheyStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ program, flag string }{
		"core, silent Postgres": {"core", "--database-url"},
		"core, silent Redis":    {"core", "--redis-url"},
		"gateway, silent Redis": {"gateway", "--redis-url"},
		"gateway, silent core":  {"gateway", "--core-url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			silent, _ := w.startProxy(w.redisURL)
			silent.PauseReplies()
			url := map[string]string{
				"--database-url": "postgres://postgres@" + silent.Addr() + "/x?sslmode=disable",
				"--redis-url":    "redis://" + silent.Addr() + "/0",
				"--core-url":     "http://" + silent.Addr(),
			}[test.flag]
			s := w.newServer(test.program)
			flags := []string{test.flag, url}
			if test.program == "gateway" && test.flag != "--core-url" {
				flags = append(flags, "--core-url", "http://"+testenv.FreeAddr(w))
			}
			s.launchProcess(flags...)
			w.waitUntil(test.program+" listens", func() bool {
				conn, err := net.Dial("tcp", s.admin)
				if err == nil {
					_ = conn.Close()
				}
				return err == nil
			})
			s.stopProcess()
		})
	}
}

// TestProgramsStopWithoutTheirServers stops programs that have lost a server.
func TestProgramsStopWithoutTheirServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		program, flag string
		isCut         bool // its connections are cut; otherwise the server is silent
	}{
		"core, silent Postgres": {program: "core", flag: "--database-url"},
		"core, cut Postgres":    {program: "core", flag: "--database-url", isCut: true},
		"core, silent Redis":    {program: "core", flag: "--redis-url"},
		"core, cut Redis":       {program: "core", flag: "--redis-url", isCut: true},
		"gateway, silent Redis": {program: "gateway", flag: "--redis-url"},
		"gateway, silent core":  {program: "gateway", flag: "--core-url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			core := w.startCore()
			url := map[string]string{
				"--database-url": w.databaseURL,
				"--redis-url":    w.redisURL,
				"--core-url":     core.baseURL(),
			}[test.flag]
			link, proxied := w.startProxy(url)
			s := w.newServer(test.program)
			flags := []string{test.flag, proxied, "--shutdown-timeout", "1s"}
			if test.program == "gateway" && test.flag != "--core-url" {
				flags = append(flags, "--core-url", core.baseURL())
			}
			s.startProcess(flags...)
			link.PauseReplies()
			var writes sync.WaitGroup
			defer writes.Wait()
			if test.program == "core" {
				a := w.newAPI(s)
				writes.Go(func() { _, _ = a.sendOnce(newCredit("user:u1", 1)) }) // has any outcome
			}
			link.Refuse(test.isCut)
			if test.isCut {
				link.Cut()
			}
			s.stopProcess()
		})
	}
}
