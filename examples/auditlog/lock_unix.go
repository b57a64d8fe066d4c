//go:build unix

package main

import (
	"os"
	"syscall"
)

// lock keeps other processes out until the file is closed.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
