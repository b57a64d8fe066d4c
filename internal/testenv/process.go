package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs for one test. It is killed when the test ends, and when the test
// process dies. Its methods may be called from several goroutines.
type Process struct {
	process *os.Process
	stops   bool          // ends its child processes when it gets SIGTERM
	exited  chan struct{} // closed when the process has ended
	state   *os.ProcessState
	output  *outputBuffer
}

// maxOutput is how many bytes of a process's output are kept, from its beginning.
const maxOutput = 1 << 20

// StartProcess starts a program in a directory. The program gets the test's environment and the
// variables in env (NAME=value).
func StartProcess(t testing.TB, dir, program string, args, env []string) *Process {
	t.Helper()

	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = dieWithParent()
	return startCommand(t, cmd)
}

// StartProcessTree starts a program that has child processes and ends them when it gets SIGTERM, such
// as nginx. Kill and the end of the test process then send this signal.
func StartProcessTree(t testing.TB, dir, program string, args, env []string) *Process {
	t.Helper()

	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = stopWithParent()
	p := startCommand(t, cmd)
	p.stops = true
	return p
}

// startCommand starts a command that is ready but for its output.
func startCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()

	p := &Process{exited: make(chan struct{}), output: new(outputBuffer)}
	cmd.Stdout = p.output
	cmd.Stderr = p.output

	started := make(chan error)
	go func() {
		// To the kernel the parent is the thread that started the process. It must live as long as
		// the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}

		_ = cmd.Wait() // ProcessState has the exit code
		p.state = cmd.ProcessState
		close(p.exited)
	}()
	err := <-started
	if err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}

	p.process = cmd.Process
	t.Cleanup(p.Kill)
	return p
}

// stopTimeout limits how long a process may take to end its child processes.
const stopTimeout = time.Minute

// Kill ends the process at once, as kill -9 does, and returns when it has ended. It does nothing if
// the process has ended before.
func (p *Process) Kill() {
	if p.stops {
		_ = p.process.Signal(syscall.SIGTERM) // fails if the process has ended
		timeout := time.NewTimer(stopTimeout)
		defer timeout.Stop()
		select {
		case <-p.exited:
		case <-timeout.C:
		}
	}
	_ = p.process.Kill() // fails if the process has ended
	<-p.exited
}

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.process.Signal(s) }

// ID returns the process id.
func (p *Process) ID() int { return p.process.Pid }

// Exited returns a channel that is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode returns the exit code of the process. It is -1 while the process runs, and if a signal
// has ended it.
func (p *Process) ExitCode() int {
	select {
	case <-p.exited:
		return p.state.ExitCode()
	default:
		return -1
	}
}

// Output returns what the process has written to its standard output and standard error, up to 1
// MiB.
func (p *Process) Output() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.b.String()
}

// outputBuffer keeps the beginning of a process's output.
type outputBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *outputBuffer) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	room := maxOutput - o.b.Len()
	o.b.Write(p[:min(room, len(p))])
	return len(p), nil
}
