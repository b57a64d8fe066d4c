package httpserver_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// A client of server-sent events says nothing, so that only TCP can tell that it is gone.
func TestConnectionsDropDeadPeers(t *testing.T) {
	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	out, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	raw, err := in.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var millis int
	if err := raw.Control(func(fd uintptr) { millis, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || millis != 60_000 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, %v, want 60000", millis, err)
	}
}
