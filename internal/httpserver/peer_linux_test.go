package httpserver_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// A client of server-sent events says nothing, so that only TCP can tell that it is gone; and what
// the kernel takes for one that does not read is bounded.
func TestConnectionsInheritBounds(t *testing.T) {
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
	for option, want := range map[int]int{unix.TCP_USER_TIMEOUT: 60_000, unix.TCP_NOTSENT_LOWAT: 128 << 10} {
		var got int
		if failed := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option) }); failed != nil {
			t.Fatal(failed)
		}
		if err != nil || got != want {
			t.Errorf("option %d is %d, %v, want %d", option, got, err, want)
		}
	}
	// What the kernel takes when nobody reads: on its way, as much as the peer's kernel takes, and
	// no more than that waits.
	if err := in.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, _ := in.Write(make([]byte, 16<<20))
	if n == 0 || n > 1<<20 {
		t.Errorf("%d bytes were taken for a client that does not read", n)
	}
}
