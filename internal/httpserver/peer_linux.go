package httpserver

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setPeerLimits sets options of a listener. Its connections inherit them.
func setPeerLimits(_, _ string, c syscall.RawConn) error {
	var optionErr error
	controlErr := c.Control(func(descriptor uintptr) {
		fd := int(descriptor) //nolint:gosec // descriptors are small
		optionErr = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(peerTimeout/time.Millisecond)),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent),
		)
	})
	return errors.Join(controlErr, optionErr)
}
