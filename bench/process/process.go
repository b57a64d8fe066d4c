// Package process starts the programs that a benchmark measures and reads from
// /proc what CPU time they use.
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

// Process is a program that was started.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    tail
	exited chan struct{}
	err    error // why it exited; set before exited is closed
}

// Start runs a program with further environment variables (NAME=value). It is
// killed when ctx ends.
func Start(ctx context.Context, program string, args, env []string) (*Process, error) {
	p := &Process{name: program, exited: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	// Ctrl-C is for the benchmark, which then stops what it started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// AwaitOK waits until a GET of the URL is answered with 200.
func (p *Process) AwaitOK(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		if request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody); err != nil {
			return err
		} else if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, p.err, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w\n%s", p.name, ctx.Err(), p.log.String())
		case <-poll.C:
		}
	}
}

// Stop asks the program to end and waits until it has. Not to end with code 0 is
// an error.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not stop within 20 s\n%s", p.name, p.log.String())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.log.String())
	}
	return nil
}

// tail keeps the end of a program's output.
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
	if over := len(t.b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// FreeAddr is an address of this machine on which nothing listens.
func FreeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := ln.Addr().String()
	return addr, ln.Close()
}
