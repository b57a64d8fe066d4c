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

// silence is how long nothing must come before a test believes that nothing comes.
const silence = 50 * time.Millisecond

func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 64))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

func expectLine(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func expectEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 64)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want the connection's end", n, err)
	}
}

// echo answers every chunk with itself and reports on heard what it got.
func echo(t *testing.T) (address string, heard <-chan string) {
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

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func expectHeard(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Fatalf("target heard %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("target did not hear %q", want)
	}
}

func TestProxyHoldsRequestsUntilResume(t *testing.T) {
	target, heard := echo(t)
	proxy := testenv.NewProxy(t, target)
	conn := connect(t, proxy.Addr())
	send(t, conn, "one")
	expectLine(t, conn, "one")
	expectHeard(t, heard, "one")
	proxy.PauseRequests()
	send(t, conn, "two")
	select {
	case got := <-heard:
		t.Fatalf("target heard %q while requests were paused", got)
	case <-time.After(silence):
	}
	proxy.Resume()
	expectLine(t, conn, "two")
}

func TestProxyHoldsRepliesThoughTheTargetHasActed(t *testing.T) {
	target, heard := echo(t)
	proxy := testenv.NewProxy(t, target)
	conn := connect(t, proxy.Addr())
	proxy.PauseReplies()
	send(t, conn, "one")
	expectHeard(t, heard, "one")
	expectSilence(t, conn)
	proxy.Resume()
	expectLine(t, conn, "one")
}

func TestProxyCutLosesWhatItHeldAndAcceptsAgain(t *testing.T) {
	target, heard := echo(t)
	proxy := testenv.NewProxy(t, target)
	conn := connect(t, proxy.Addr())
	proxy.PauseReplies()
	send(t, conn, "lost")
	expectHeard(t, heard, "lost")
	proxy.Cut()
	expectEnd(t, conn)
	proxy.Resume()
	again := connect(t, proxy.Addr())
	send(t, again, "new")
	expectLine(t, again, "new")
}

func TestProxyEndsTheClientWhenTheTargetIsAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	expectEnd(t, connect(t, testenv.NewProxy(t, away).Addr()))
}
