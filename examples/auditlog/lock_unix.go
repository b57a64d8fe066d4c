//go:build unix

package main

import (
	"os"
	"syscall"
)

// lockFile locks the file for this process until the file is closed.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
