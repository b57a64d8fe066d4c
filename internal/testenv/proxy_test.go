package testenv_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// silence is how long a test waits before it concludes that no bytes arrive.
const silence = 50 * time.Millisecond

func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 64))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: got %d bytes and error %v, want no bytes", n, err)
	}
}

func expectLine(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read: got %q and error %v, want %q", got, err, want)
	}
}

func expectEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 64)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: got %d bytes and error %v, want the end of the connection", n, err)
	}
}

// startEcho starts a server that sends every chunk back, and sends it on received, too.
func startEcho(t *testing.T) (address string, received <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	chunks := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 64)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					chunks <- string(buffer[:n])
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), chunks
}

func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func writeText(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func expectReceived(t *testing.T, received <-chan string, want string) {
	t.Helper()
	select {
	case got := <-received:
		if got != want {
			t.Fatalf("target received %q, want %q", got, want)
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("target received nothing, want %q", want)
	}
}

func TestProxyHoldsRequestsUntilResume(t *testing.T) {
	target, received := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	conn := dialTCP(t, proxy.Addr())
	writeText(t, conn, "one")
	expectLine(t, conn, "one")
	expectReceived(t, received, "one")
	proxy.PauseRequests()
	writeText(t, conn, "two")
	select {
	case got := <-received:
		t.Fatalf("target received %q while requests were paused", got)
	case <-time.After(silence):
	}
	proxy.Resume()
	expectLine(t, conn, "two")
}

func TestProxyHoldsRepliesOfRequestsThatTheTargetReceived(t *testing.T) {
	target, received := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	conn := dialTCP(t, proxy.Addr())
	proxy.PauseReplies()
	writeText(t, conn, "one")
	expectReceived(t, received, "one")
	expectSilence(t, conn)
	proxy.Resume()
	expectLine(t, conn, "one")
}

func TestProxyCutLosesHeldBytesAndAcceptsAgain(t *testing.T) {
	target, received := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	conn := dialTCP(t, proxy.Addr())
	proxy.PauseReplies()
	writeText(t, conn, "lost")
	expectReceived(t, received, "lost")
	proxy.Cut()
	expectEnd(t, conn)
	proxy.Resume()
	again := dialTCP(t, proxy.Addr())
	writeText(t, again, "new")
	expectLine(t, again, "new")
}

func TestProxyClosesTheClientIfTheTargetIsUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	expectEnd(t, dialTCP(t, testenv.NewProxy(t, closed).Addr()))
}

func TestProxySilencesPresentConnectionsOnly(t *testing.T) {
	target, received := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	old := dialTCP(t, proxy.Addr())
	writeText(t, old, "one")
	expectLine(t, old, "one")
	expectReceived(t, received, "one")
	proxy.SilenceLinks()
	writeText(t, old, "lost")
	expectSilence(t, old)
	fresh := dialTCP(t, proxy.Addr())
	writeText(t, fresh, "two")
	expectLine(t, fresh, "two")
	expectReceived(t, received, "two")
}

func TestProxyDelaysEachPiece(t *testing.T) {
	target, _ := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	conn := dialTCP(t, proxy.Addr())
	proxy.Delay(silence)
	start := time.Now()
	writeText(t, conn, "slow")
	expectLine(t, conn, "slow")
	if took := time.Since(start); took < 2*silence {
		t.Errorf("request and reply took %s, want at least %s", took, 2*silence)
	}
}

func TestProxyRefusesNewConnectionsForATime(t *testing.T) {
	target, _ := startEcho(t)
	proxy := testenv.NewProxy(t, target)
	proxy.Refuse(true)
	expectEnd(t, dialTCP(t, proxy.Addr()))
	proxy.Refuse(false)
	conn := dialTCP(t, proxy.Addr())
	writeText(t, conn, "again")
	expectLine(t, conn, "again")
}

func TestProxyLeadsNewConnectionsToAnotherTarget(t *testing.T) {
	first, receivedByFirst := startEcho(t)
	second, receivedBySecond := startEcho(t)
	proxy := testenv.NewProxy(t, first)
	old := dialTCP(t, proxy.Addr())
	writeText(t, old, "one")
	expectReceived(t, receivedByFirst, "one")
	proxy.SetTarget(second)
	writeText(t, dialTCP(t, proxy.Addr()), "two")
	expectReceived(t, receivedBySecond, "two")
	writeText(t, old, "three")
	expectReceived(t, receivedByFirst, "three")
}
