package httpserver

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dropDeadPeers sets TCP_USER_TIMEOUT on a listener, whose connections inherit it.
func dropDeadPeers(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeer/time.Millisecond)) //nolint:gosec // descriptors are small
	})
	if failed != nil {
		return failed
	}
	return err
}
