package testenv

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreeAddr returns an address of 127.0.0.1 on which no program listens. Until the test ends, no
// other test gets the address, in this process or another one, and no outgoing connection uses it.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(reservePort(t)))
}

// reservePort returns a free port below the range of outgoing connections, which begins at 32768 on
// Linux. Otherwise an outgoing connection could take the port while the server is down, even the
// connection of a client that dials this port. The UDP port of the same number stays open until the
// test ends. It marks the TCP port as reserved; no server of this module uses UDP.
func reservePort(t testing.TB) int {
	t.Helper()

	for range 100 {
		port := 10000 + rand.IntN(22000)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		reservation, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}

		listener, err := net.Listen("tcp", addr)
		if err != nil {
			_ = reservation.Close()
			continue
		}

		err = listener.Close()
		if err != nil {
			t.Fatalf("close listener: %v", err)
		}
		t.Cleanup(func() { _ = reservation.Close() })
		return port
	}

	t.Fatal("no free port")
	return 0
}
