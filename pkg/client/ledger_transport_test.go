package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnusedConnectionIsClosed checks that the client closes an unused connection well before the
// core does, which is after 5 s.
func TestUnusedConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, core := net.Pipe()
		transport := newTransport()
		transport.Proxy = nil
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
		go func() {
			request, err := http.NewRequest(http.MethodGet, "http://core", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
		}()

		reader := bufio.NewReader(core)
		_, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(core, "HTTP/1.1 204 No Content\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now() // of the bubble's clock
		_, err = reader.ReadByte()
		if !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the end of the connection", err)
		}
		if unused := time.Since(start); unused > 4*time.Second {
			t.Errorf("the connection was closed after %v, want at most 4 s", unused)
		}
	})
}
