package rawhttp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestChangedRequestsUseOneConnection(t *testing.T) {
	remotes := make(map[string]bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remotes[r.RemoteAddr] = true
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.URL.Path+" "+r.Header.Get("Idempotency-Key")+" "+string(body))
	}))
	defer server.Close()
	conn, err := Dial(t.Context(), server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := Post("/a", "localhost", "Idempotency-Key: #####\r\n", `{"n":1}`)
	slot := Slot(request, "#####")
	for n := range uint64(3) {
		PutNumber(slot, 41+n)
		want := fmt.Sprintf(`/a %05d {"n":1}`, 41+n)
		status, body, err := conn.Do(request)
		if err != nil || status != http.StatusCreated || string(body) != want {
			t.Fatalf("got %d %q, %v; want 201 %q", status, body, err, want)
		}
	}
	if len(remotes) != 1 {
		t.Errorf("got %d connections, want 1", len(remotes))
	}
}

func TestDoReadsSplitResponses(t *testing.T) {
	tests := []struct {
		name   string
		pieces []string
		status int
		body   string
	}{
		{"one piece", []string{"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"}, 201, "ok"},
		{"split in the empty line", []string{"HTTP/1.1 402 X\r\ncontent-length:  3\r\n\r", "\nabc"}, 402, "abc"},
		{"split in the body", []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na", "bc", "de"}, 200, "abcde"},
		{"longer than the buffer", []string{"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", strings.Repeat("a", 9000)}, 200, strings.Repeat("a", 9000)},
		{"no body", []string{"HTTP/1.1 204 No Content\r\n\r\n"}, 204, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body, err := exchange(t, tt.pieces...)
			if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("got status %d, want %d", status, tt.status)
			}
			if string(body) != tt.body {
				t.Errorf("got a body of %d bytes, want %d bytes: %.100q", len(body), len(tt.body), body)
			}
		})
	}
}

func TestDoRefusesInvalidResponses(t *testing.T) {
	for _, tt := range []struct {
		name     string
		response string
	}{
		{"no length", "HTTP/1.1 200 OK\r\n\r\n"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n"},
		{"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"},
		{"bad status", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n"},
		{"two responses", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n"},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, err := exchange(t, tt.response)
			if err == nil {
				t.Errorf("got %d %q, want an error", status, body)
			}
		})
	}
}

// exchange sends a request to a server that writes its response in pieces and then closes the
// connection.
func exchange(t *testing.T, pieces ...string) (int, []byte, error) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		_, _ = server.Read(make([]byte, 4096))
		for _, p := range pieces {
			if _, err := io.WriteString(server, p); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err)
			}
		}
	}()
	conn := NewConn(client)
	status, body, err := conn.Do(Post("/", "localhost", "", "{}"))
	_ = conn.Close()
	<-done
	return status, body, err
}
