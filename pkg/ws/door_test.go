package ws

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/auth"
)

const plainRequest = "GET /v1/ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// requests are handshakes, without the empty line at the end, and whether they are
// taken before the HTTP server sees them.
func requests(t testing.TB) map[string]bool {
	bearer := "Authorization: Bearer " + mint(t, auth.Request{Subject: "user:u1"}) + "\r\n"
	expired := "Authorization: Bearer " + mint(t, auth.Request{Subject: "user:u1", TTL: -time.Hour}) + "\r\n"
	change := func(old, replacement string) string {
		if !strings.Contains(plainRequest, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(plainRequest, old, replacement, 1)
	}
	return map[string]bool{
		plainRequest:          true,
		plainRequest + bearer: true,
		plainRequest + "Sec-WebSocket-Protocol: wallet.v1\r\n" + bearer:                                                  true,
		plainRequest + "Origin: https://example.com\r\n" + bearer:                                                        true,
		plainRequest + "Origin: https://app.allowed\r\n" + bearer:                                                        true,
		plainRequest + "User-Agent: x\r\nCookie: a=b; c\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX-Empty:\r\n": true,
		change("Connection: Upgrade", "connection:\tkeep-alive , upgrade "):                                              true,
		change("Upgrade: websocket", "UPGRADE: WebSocket"):                                                               true,
		change("example.com", "[::1]:8081"):                                                                              true,
		plainRequest + expired:                                                                                           false,
		plainRequest + "Authorization: Basic x\r\n":                                                                      false,
		plainRequest + "Authorization:\r\n":                                                                              false,
		plainRequest + bearer + bearer:                                                                                   false,
		plainRequest + "Origin: https://evil.example\r\n":                                                                false,
		plainRequest + "Origin: null\r\n":                                                                                false,
		plainRequest + "Sec-WebSocket-Protocol: other\r\n":                                                               false,
		plainRequest + "Sec-WebSocket-Protocol: other, wallet.v1\r\n":                                                    false,
		plainRequest + "Sec-WebSocket-Protocol: WALLET.v1\r\n":                                                           false,
		plainRequest + "Host: example.com\r\n":                                                                           false,
		plainRequest + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n":                                                 false,
		plainRequest + " folded\r\n":                                                                                     false,
		plainRequest + "Bad Name: x\r\n":                                                                                 false,
		plainRequest + "Bad: \x01\r\n":                                                                                   false,
		plainRequest + "No colon\r\n":                                                                                    false,
		plainRequest + "X: y\n":                                                                                          false,
		plainRequest + strings.Repeat("X-Long: "+strings.Repeat("x", 90)+"\r\n", 60) + bearer:                            false,
		plainRequest + "A-Name-That-Is-Longer-Than-Any-That-Matters: x\r\n":                                              false,
		plainRequest + "Content-Length: 0\r\n":                                                                           false,
		plainRequest + "Content-Length: x\r\n":                                                                           false,
		plainRequest + "Transfer-Encoding: chunked\r\n":                                                                  false,
		plainRequest + "Expect: 100-continue\r\n":                                                                        false,
		change("Host: example.com\r\n", ""):                                                                              false,
		change("example.com", "exa mple.com"):                                                                            false,
		change("example.com", ""):                                                                                        false,
		change("Upgrade: websocket\r\n", ""):                                                                             false,
		change("Upgrade: websocket", "Upgrade: h2c, websocket"):                                                          false,
		change("Connection: Upgrade", "Connection: close"):                                                               false,
		change("Version: 13", "Version: 8"):                                                                              false,
		change("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"):                                                     false,
		change("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ!!"):                                                   false,
		change("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZXh4"):                                                   false,
		change("HTTP/1.1", "HTTP/1.0"):                                                                                   false,
		change("GET", "POST"):                                                                                            false,
		change("/v1/ws", "/v1/ws?x=y"):                                                                                   false,
		change("/v1/ws", "/v1/%77s"):                                                                                     false,
		"\r\n" + plainRequest:                                                                                            false,
	}
}

// answerTo gives what a client hears first: the status, the headers of an upgrade,
// and the first frame.
func answerTo(t *testing.T, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	// A ping comes along, before the answer: a pong has to come.
	if _, err := io.WriteString(c, request+"\r\n\x89\x80\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s", resp.StatusCode, body)
	}
	words := []string{"101"}
	for _, name := range []string{"Upgrade", "Connection", "Sec-Websocket-Accept", "Sec-Websocket-Protocol"} {
		words = append(words, resp.Header.Get(name))
	}
	for range 2 { // a welcome and a pong, or a pong
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err.Error()
		}
		size := int(head[1])
		if size == 126 {
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return err.Error()
			}
			size = int(head[0])<<8 | int(head[1])
			head[0] = 0x81
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(r, payload); err != nil {
			return err.Error()
		}
		op, _, _ := bytes.Cut(payload, []byte(`,"connection"`))
		words = append(words, fmt.Sprintf("%x %s", head[0], op))
		if head[0] == 0x8a {
			break
		}
	}
	return strings.Join(words, " | ")
}

// doors are servers of the hub with and without a door. served counts the handshakes
// that came to the server behind the door.
func doors(t *testing.T, g *gateway) (with, without *httptest.Server, served *atomic.Int64) {
	t.Helper()
	v, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	served = new(atomic.Int64)
	mux := http.NewServeMux()
	mux.Handle("GET /v1/ws", g.hub.Handler(v))
	with = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		mux.ServeHTTP(w, r)
	}))
	with.Listener = g.hub.Door(with.Listener, "/v1/ws", v)
	with.Start()
	t.Cleanup(with.Close)
	without = httptest.NewServer(mux)
	t.Cleanup(without.Close)
	return with, without, served
}

// Whatever a client says first, it gets the same answer with the door as without it.
func TestDoor(t *testing.T) {
	g := newGateway(t, Config{AllowedOrigins: []string{"app.allowed"}, MaxConnectionsPerAccount: 1 << 10})
	with, without, served := doors(t, g)
	for request, taken := range requests(t) {
		before := served.Load()
		got, want := answerTo(t, with.Listener.Addr().String(), request), answerTo(t, without.Listener.Addr().String(), request)
		if got != want {
			t.Errorf("%q\n with the door: %s\n without:       %s", request, got, want)
		}
		if taken && (!strings.HasPrefix(got, "101") || served.Load() != before) {
			t.Errorf("%q is answered %s, with %d requests at the server", request, got, served.Load()-before)
		}
	}
	if served.Load() == 0 {
		t.Error("nothing came to the server")
	}
}

// A handshake may come in parts, and with the client's first frames behind it.
func TestDoorInParts(t *testing.T) {
	g := newGateway(t, Config{})
	whole := plainRequest + "\r\n"
	for i := range whole {
		if _, ok := parseHandshake([]byte(whole[:i]), "GET /v1/ws HTTP/1.1\r\n"); ok {
			t.Errorf("%q is taken for a whole", whole[:i])
		}
	}
	for i := 1; i < len(plainRequest); i += 17 {
		c, err := net.Dial("tcp", g.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		for _, part := range []string{whole[:i], whole[i:]} {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Error(resp.Status)
		}
		_ = c.Close()
	}
}

// Whom the hub does not let in is answered by the server.
func TestDoorLimits(t *testing.T) {
	g := newGateway(t, Config{MaxConnections: 2, MaxConnectionsPerAccount: 1})
	with, _, served := doors(t, g)
	addr := with.Listener.Addr().String()
	dial := func(account string) string {
		return plainRequest + "Authorization: Bearer " + mint(t, auth.Request{Subject: account}) + "\r\n"
	}
	hold := func(request string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, request+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(resp, err)
		}
	}
	want := func(request, code string) {
		t.Helper()
		if got := answerTo(t, addr, request); !strings.HasPrefix(got, code) {
			t.Errorf("%s, want %s", got, code)
		}
	}
	hold(dial("user:u1"))
	eventually(t, "the first is filed", func() bool { return len(g.connections("user:u1")) == 1 })
	want(dial("user:u1"), "429")
	hold(dial("user:u2"))
	eventually(t, "the second is filed", func() bool { return len(g.connections("user:u2")) == 1 })
	want(dial("user:u3"), "503")
	if served.Load() != 2 {
		t.Errorf("%d came to the server", served.Load())
	}
}

// What the door takes is a request that net/http reads in the same way and for which
// the library opens a connection.
func FuzzHandshake(f *testing.F) {
	for request := range requests(f) {
		f.Add([]byte(request + "\r\n"))
		f.Add([]byte(request + "\r\nmore"))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		hs, ok := parseHandshake(sent, "GET /v1/ws HTTP/1.1\r\n")
		if !ok {
			return
		}
		rd := bufio.NewReader(bytes.NewReader(sent))
		r, err := http.ReadRequest(rd)
		if err != nil {
			t.Fatalf("net/http does not read it: %v", err)
		}
		ahead, err := io.ReadAll(rd)
		if err != nil {
			t.Fatal(err)
		}
		same := func(what string, got []byte, want string) {
			if string(got) != want {
				t.Errorf("%s is %q, was read as %q", what, want, got)
			}
		}
		same("host", hs.host, r.Host)
		same("origin", hs.origin, r.Header.Get("Origin"))
		same("authorization", hs.authorization, r.Header.Get("Authorization"))
		same("key", hs.key, r.Header.Get("Sec-WebSocket-Key"))
		same("what follows", hs.ahead, string(ahead))
		if r.URL.Path != "/v1/ws" || r.ContentLength != 0 || !offersProtocol(r) || hs.protocol != (r.Header.Get("Sec-WebSocket-Protocol") != "") {
			t.Errorf("%+v", r)
		}
		near, far := net.Pipe()
		defer func() { _ = far.Close() }()
		w := &shaken{wire: &wire{Conn: near}, header: http.Header{}}
		c := &conn{}
		if err := c.accept(w, r, websocket.CompressionDisabled); err != nil {
			t.Fatalf("the library refuses it: %v", err)
		}
		defer func() { _ = c.ws.CloseNow() }()
		theirs := w.header.Get("Sec-WebSocket-Accept")
		if !bytes.Contains(hs.answer(), []byte("Sec-WebSocket-Accept: "+theirs+"\r\n")) {
			t.Errorf("the answer is %q, not %s", hs.answer(), theirs)
		}
	})
}
