//go:build !linux

package httpserver

import "syscall"

// boundPeers does nothing: the kernel's own, larger, bounds hold.
func boundPeers(string, string, syscall.RawConn) error { return nil }
