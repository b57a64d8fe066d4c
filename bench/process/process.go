// Package process starts the programs that a benchmark measures, and reads their CPU time from
// /proc.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a running program.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    tail
	exited chan struct{}
	err    error // of the exit; set before exited is closed
}

// Start starts a program with additional environment variables (NAME=value). The program is killed
// when ctx ends.
func Start(ctx context.Context, program string, args, env []string) (*Process, error) {
	p := &Process{name: program, exited: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout = &p.log
	p.cmd.Stderr = &p.log
	// The program must not get the SIGINT of Ctrl-C. The benchmark gets it and stops the program.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := p.cmd.Start()
	if err != nil {
		return nil, err
	}

	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// AwaitOK waits until a GET of the URL is answered with 200, for up to 30 seconds.
func (p *Process) AwaitOK(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}

		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}

		select {
		case <-p.exited:
			return fmt.Errorf("%s exited before it was ready: %w\n%s",
				p.name, p.err, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, ctx.Err(), p.log.String())
		case <-poll.C:
		}
	}
}

// Stop sends SIGTERM and waits until the program has exited. It returns an error unless the exit
// code is 0.
func (p *Process) Stop() error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}

	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s must stop within 20 s\n%s", p.name, p.log.String())
	}

	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.log.String())
	}
	return nil
}

// tail is an io.Writer that keeps the end of a program's output.
type tail struct {
	mu sync.Mutex // protects b
	b  []byte
}

const maxTail = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	excess := len(t.b) - maxTail
	if excess > 0 {
		t.b = append(t.b[:0], t.b[excess:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// FreeAddr returns a local address on which no process listens.
func FreeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}

	addr := ln.Addr().String()
	return addr, ln.Close()
}
