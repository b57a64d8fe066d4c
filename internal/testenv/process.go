package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
)

// Process is a program that runs for one test. It is killed when the test ends, and when the test process dies. Its
// methods may be called from several goroutines.
type Process struct {
	process *os.Process
	exited  chan struct{} // closed when it has ended
	state   *os.ProcessState
	output  *output
}

// maxOutput is how much of a process' output is kept, from its beginning.
const maxOutput = 1 << 20

// StartProcess starts a program with the test's environment and the given further variables (NAME=value), in a directory.
func StartProcess(t testing.TB, dir, program string, args, env []string) *Process {
	t.Helper()
	p := &Process{exited: make(chan struct{}), output: new(output)}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = dieWithParent()
	cmd.Stdout, cmd.Stderr = p.output, p.output
	started := make(chan error)
	go func() {
		// The kernel takes the thread that started the process for its parent, so that thread must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the state tells how it ended
		p.state = cmd.ProcessState
		close(p.exited)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	p.process = cmd.Process
	t.Cleanup(p.Kill)
	return p
}

// Kill ends the process at once, as kill -9 does, and returns when it is gone. One that has ended is left alone.
func (p *Process) Kill() {
	_ = p.process.Kill() // it may have ended by itself
	<-p.exited
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.process.Signal(s) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode is -1 while the process runs and for one that a signal has ended.
func (p *Process) ExitCode() int {
	select {
	case <-p.exited:
		return p.state.ExitCode()
	default:
		return -1
	}
}

// Output is what the process has written to its standard output and error so far, up to 1 MiB.
func (p *Process) Output() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.b.String()
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := maxOutput - o.b.Len(); room > 0 {
		o.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
