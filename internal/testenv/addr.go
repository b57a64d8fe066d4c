package testenv

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreeAddr returns an address of 127.0.0.1 that nobody listens on, and that is the test's until it ends: no other test
// gets it, in this process or another, and no outgoing connection.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
}

// freePort returns a port below the range that systems give to outgoing connections (from 32768 on Linux): otherwise one
// of those could take the port while the server is down, even a client's that tries to reach this very port. The same
// port of UDP, which no server of ours uses, is held as a sign that the port is taken.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(22000)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		claim, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			_ = claim.Close() // it was never used
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatalf("close listener: %v", err)
		}
		t.Cleanup(func() { _ = claim.Close() })
		return port
	}
	t.Fatal("no free port")
	return 0
}
