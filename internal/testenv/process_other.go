//go:build !unix

package testenv

import (
	"errors"
	"os"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func stopWithParent() *syscall.SysProcAttr { return nil }

func suspendProcess(*os.Process) error { return errors.ErrUnsupported }
func resumeProcess(*os.Process) error  { return errors.ErrUnsupported }
