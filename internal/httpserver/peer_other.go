//go:build !linux

package httpserver

import "syscall"

// setPeerLimits does nothing: the kernel's own, larger, bounds hold.
func setPeerLimits(string, string, syscall.RawConn) error { return nil }
