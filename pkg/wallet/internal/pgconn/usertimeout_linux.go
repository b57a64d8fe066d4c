package pgconn

import (
	"errors"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is the time after which the kernel gives up a connection whose peer acknowledges
// nothing.
const userTimeout = 6 * time.Second

// setUserTimeout sets TCP_USER_TIMEOUT on a socket before it connects.
func setUserTimeout(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}

	var optionErr error
	controlErr := c.Control(func(descriptor uintptr) {
		fd := int(descriptor) //nolint:gosec // descriptors are small
		optionErr = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
	return errors.Join(controlErr, optionErr)
}
