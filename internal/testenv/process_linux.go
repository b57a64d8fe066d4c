package testenv

import (
	"os"
	"syscall"
)

// dieWithParent makes the kernel kill the child when the thread that started it ends, also when the
// test process is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stopWithParent makes the kernel send SIGTERM to the child in the same case.
func stopWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

func suspendProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func resumeProcess(p *os.Process) error  { return p.Signal(syscall.SIGCONT) }
