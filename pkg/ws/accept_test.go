package ws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const handshakeRequest = "GET /v1/ws HTTP/1.1\r\n" +
	"Host: example.com\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// sampleAccept is the answer to the key of handshakeRequest. Both are from RFC 6455 section 1.3.
const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// addHeader returns handshakeRequest with another header line.
func addHeader(line string) string {
	return handshakeRequest + line + "\r\n"
}

// changeHandshake returns handshakeRequest with a replacement.
func changeHandshake(t *testing.T, old, replacement string) string {
	t.Helper()
	if !strings.Contains(handshakeRequest, old) {
		t.Fatalf("the request does not contain %q", old)
	}
	return strings.Replace(handshakeRequest, old, replacement, 1)
}

// A handshake over plain TCP is accepted as in RFC 6455.
func TestHandshakeIsAccepted(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "user:u1"})
	for name, tc := range map[string]struct {
		request  string
		protocol string
		welcome  bool
	}{
		"no token": {
			request: handshakeRequest,
		},
		"token": {
			request: addHeader("Authorization: Bearer " + token),
			welcome: true,
		},
		"subprotocol": {
			request:  addHeader("Sec-WebSocket-Protocol: wallet.v1"),
			protocol: "wallet.v1",
		},
		"two subprotocols": {
			request:  addHeader("Sec-WebSocket-Protocol: other, wallet.v1"),
			protocol: "wallet.v1",
		},
		"same origin": {
			request: addHeader("Origin: https://example.com"),
		},
		"unused extension": {
			request: addHeader("Sec-WebSocket-Extensions: permessage-deflate"),
		},
		"connection list": {
			request: changeHandshake(t, "Connection: Upgrade", "connection:\tkeep-alive , upgrade "),
		},
		"upgrade in upper case": {
			request: changeHandshake(t, "Upgrade: websocket", "UPGRADE: WebSocket"),
		},
		"upgrade list": {
			request: changeHandshake(t, "Upgrade: websocket", "Upgrade: h2c, websocket"),
		},
		"query": {
			request: changeHandshake(t, "/v1/ws", "/v1/ws?x=y"),
		},
		"long header": {
			request: addHeader("X-Long: " + strings.Repeat("x", 8000)),
		},
		"empty body": {
			request: addHeader("Content-Length: 0"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, r := g.sendHandshake(t, tc.request)
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("status: got %d, want 101", resp.StatusCode)
			}
			header := resp.Header
			checkEqual(t, "Sec-WebSocket-Accept", header.Get("Sec-WebSocket-Accept"), sampleAccept)
			checkEqual(t, "Sec-WebSocket-Protocol", header.Get("Sec-WebSocket-Protocol"), tc.protocol)
			checkEqual(t, "Sec-WebSocket-Extensions", header.Get("Sec-WebSocket-Extensions"), "")

			if tc.welcome {
				opcode, payload := readServerFrame(t, r)
				checkEqual(t, "opcode of the first frame", opcode, 1)
				if !bytes.HasPrefix(payload, []byte(`{"op":"welcome"`)) {
					t.Fatalf("first frame: got %s, want welcome", payload)
				}
			}
			opcode, _ := readServerFrame(t, r)
			checkEqual(t, "opcode of the pong", opcode, 0xa)
		})
	}
}

func TestHandshakeIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	const key = "dGhlIHNhbXBsZSBub25jZQ"
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"other origin":      {addHeader("Origin: https://evil.example"), http.StatusForbidden},
		"null origin":       {addHeader("Origin: null"), http.StatusForbidden},
		"other subprotocol": {addHeader("Sec-WebSocket-Protocol: other"), http.StatusBadRequest},
		"basic auth":        {addHeader("Authorization: Basic x"), http.StatusUnauthorized},
		"two keys":          {addHeader("Sec-WebSocket-Key: " + key + "=="), http.StatusBadRequest},
		"short key":         {changeHandshake(t, key+"==", key), http.StatusBadRequest},
		"long key":          {changeHandshake(t, key+"==", key[:20]+"ZXh4"), http.StatusBadRequest},
		"no host":           {changeHandshake(t, "Host: example.com\r\n", ""), http.StatusBadRequest},
		"no upgrade": {
			changeHandshake(t, "Upgrade: websocket\r\n", ""), http.StatusUpgradeRequired,
		},
		"close": {
			changeHandshake(t, "Connection: Upgrade", "Connection: close"), http.StatusUpgradeRequired,
		},
		"old version": {changeHandshake(t, "Version: 13", "Version: 8"), http.StatusBadRequest},
		"HTTP/1.0":    {changeHandshake(t, "HTTP/1.1", "HTTP/1.0"), http.StatusUpgradeRequired},
		"POST":        {changeHandshake(t, "GET", "POST"), http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			resp, _ := g.sendHandshake(t, tc.request)
			checkEqual(t, "status", resp.StatusCode, tc.status)
		})
	}
}

// sendHandshake sends the request and a ping. The ping must be answered although it is sent before
// the handshake is accepted.
func (g *gateway) sendHandshake(t *testing.T, request string) (*http.Response, *bufio.Reader) {
	t.Helper()
	c, r := g.dialTCP(t)
	_, err := io.WriteString(c, request+"\r\n\x89\x80\x00\x00\x00\x00")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body // belongs to the connection
	return resp, r
}

// dialTCP opens a connection without sending anything.
func (g *gateway) dialTCP(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	err = c.SetDeadline(time.Now().Add(testTimeout))
	if err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// readServerFrame reads a frame of less than 64 KiB.
func readServerFrame(t *testing.T, r io.Reader) (opcode byte, payload []byte) {
	t.Helper()
	opcode, payload, err := parseServerFrame(r)
	if err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	return opcode, payload
}

func parseServerFrame(r io.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	_, err = io.ReadFull(r, head[:])
	if err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 {
		return 0, nil, fmt.Errorf("the frame begins with %x", head[0])
	}
	opcode = head[0] & 0x0f
	size := int(head[1])
	switch {
	case size > 126:
		return 0, nil, errors.New("the frame is masked or too large")
	case size == 126:
		_, err = io.ReadFull(r, head[:])
		if err != nil {
			return 0, nil, err
		}
		size = int(head[0])<<8 | int(head[1])
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	return opcode, payload, err
}

// A handshake request may arrive in two parts.
func TestHandshakeInTwoParts(t *testing.T) {
	g := newGateway(t, Config{})
	whole := handshakeRequest + "\r\n"
	for i := 1; i < len(whole); i += 17 {
		t.Run(fmt.Sprintf("after %d bytes", i), func(t *testing.T) {
			c, r := g.dialTCP(t)
			for _, part := range []string{whole[:i], whole[i:]} {
				_, err := io.WriteString(c, part)
				if err != nil {
					t.Fatal(err)
				}
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			checkEqual(t, "status", resp.StatusCode, http.StatusSwitchingProtocols)
		})
	}
}
