package httpserver_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// Accepted connections have a user timeout, which closes the connection of a client that has
// disappeared. They also have a limit of unsent data.
func TestConnectionsInheritLimits(t *testing.T) {
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
	for option, want := range map[int]int{
		unix.TCP_USER_TIMEOUT:  60_000,
		unix.TCP_NOTSENT_LOWAT: 128 << 10,
	} {
		var got int
		var optionErr error
		err := raw.Control(func(fd uintptr) {
			got, optionErr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option)
		})
		if err != nil {
			t.Fatal(err)
		}
		if optionErr != nil {
			t.Fatal(optionErr)
		}
		if got != want {
			t.Errorf("option %d: got %d, want %d", option, got, want)
		}
	}

	// If the client does not read, the kernels buffer a limited number of bytes.
	err = in.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := in.Write(make([]byte, 16<<20))
	if n == 0 || n > 1<<20 {
		t.Errorf("got %d buffered bytes, want 1 to %d", n, 1<<20)
	}
}
