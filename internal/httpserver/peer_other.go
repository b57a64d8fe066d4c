//go:build !linux

package httpserver

import "syscall"

// setPeerLimits does nothing. The larger limits of the kernel apply.
func setPeerLimits(string, string, syscall.RawConn) error { return nil }
