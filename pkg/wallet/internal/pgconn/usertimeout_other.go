//go:build !linux

package pgconn

import "syscall"

// setUserTimeout does nothing, because only Linux has TCP_USER_TIMEOUT.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
