package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Clients use up the file descriptors of a core and of a gateway. The admin listeners answer
// nevertheless, a warning is logged, and the public listeners serve again afterwards.
func TestFileDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	for _, s := range []*server{core, gateway} {
		s.runOutOfDescriptors()
	}
}

const shortageWarning = "no file descriptor is left"

func (s *server) runOutOfDescriptors() {
	s.w.Helper()
	s.leaveDescriptors(10)
	stopClients := s.keepConnecting(30)
	defer stopClients()
	s.w.waitUntil(s.program+" warns", func() bool {
		return strings.Contains(s.process.Output(), shortageWarning)
	})

	for range 5 {
		for _, path := range []string{"/readyz", "/metrics"} {
			status, err := getOnNewConnection("http://" + s.admin + path)
			if err != nil || status != http.StatusOK {
				s.w.Errorf("%s of %s: got status %d, error %v, want 200", path, s.program, status, err)
			}
		}
	}

	stopClients()
	s.w.waitUntil(s.program+" serves again", func() bool {
		status, err := getOnNewConnection(s.baseURL() + "/v1/accounts/user:u1/balance")
		return err == nil && status == http.StatusUnauthorized
	})
	if n := strings.Count(s.process.Output(), shortageWarning); n > 2 { // one for each listener
		s.w.Errorf("%s logged %d warnings in less than a minute, want at most 2", s.program, n)
	}
}

// keepConnecting opens n connections that send nothing, and opens them again when the server has
// closed them. stop closes them.
func (s *server) keepConnecting(n int) (stop func()) {
	ctx, cancel := context.WithCancel(s.w.Context())
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			for ctx.Err() == nil {
				s.connectOnce(ctx)
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// connectOnce opens a connection and waits until the server closes it or ctx ends.
func (s *server) connectOnce(ctx context.Context) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.http)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, _ = io.Copy(io.Discard, conn)
}

// leaveDescriptors lowers the limit of open files so that n more can be opened.
func (s *server) leaveDescriptors(n int) {
	s.w.Helper()
	pid := s.process.ID()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		s.w.Fatal(err)
	}
	limit := uint64(len(open) + n)
	err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil)
	if err != nil {
		s.w.Fatal(err)
	}
}

func getOnNewConnection(url string) (status int, err error) {
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true},
		Timeout:   patience,
	}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
