//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is the file in --data that a running process locks. It contains the process id.
const lockFile = "lock"

// lockDirectory makes sure that no other process uses the directory: two processes would each show
// balances of their own. unlock ends the lock, which also ends with the process.
func lockDirectory(directory string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(directory, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = describeHolder(directory, file)
	}
	if err == nil {
		err = writeHolder(file)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// describeHolder returns the error of a directory that another process has locked.
func describeHolder(directory string, file *os.File) error {
	text, _ := io.ReadAll(io.LimitReader(file, 64)) // without it, the error names no process
	holder := "another process"
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		holder = fmt.Sprintf("process %d", id)
	}
	return fmt.Errorf("%s is in use by %s, which must be another core dev; stop that one with Ctrl-C, or choose another directory with --data",
		directory, holder)
}

// writeHolder writes the id of this process.
func writeHolder(file *os.File) error {
	err := file.Truncate(0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, os.Getpid())
	return err
}
