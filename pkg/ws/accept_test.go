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

const handshakeRequest = "GET /v1/ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// sampleAccept answers the key of handshakeRequest, both from RFC 6455 section 1.3.
const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// A handshake is answered over plain TCP as RFC 6455 says.
func TestHandshake(t *testing.T) {
	g := newGateway(t, Config{})
	token := "Authorization: Bearer " + mint(t, Identity{Subject: "user:u1"}) + "\r\n"
	change := func(old, replacement string) string {
		if !strings.Contains(handshakeRequest, old) {
			t.Fatalf("the request has no %q", old)
		}
		return strings.Replace(handshakeRequest, old, replacement, 1)
	}
	for name, tc := range map[string]struct {
		request  string
		status   int
		protocol string
		welcome  bool
	}{
		"no token yet":       {handshakeRequest, 101, "", false},
		"token":              {handshakeRequest + token, 101, "", true},
		"subprotocol":        {handshakeRequest + "Sec-WebSocket-Protocol: wallet.v1\r\n", 101, "wallet.v1", false},
		"two subprotocols":   {handshakeRequest + "Sec-WebSocket-Protocol: other, wallet.v1\r\n", 101, "wallet.v1", false},
		"own page":           {handshakeRequest + "Origin: https://example.com\r\n", 101, "", false},
		"unused extension":   {handshakeRequest + "Sec-WebSocket-Extensions: permessage-deflate\r\n", 101, "", false},
		"connection list":    {change("Connection: Upgrade", "connection:\tkeep-alive , upgrade "), 101, "", false},
		"upgrade in capital": {change("Upgrade: websocket", "UPGRADE: WebSocket"), 101, "", false},
		"upgrade list":       {change("Upgrade: websocket", "Upgrade: h2c, websocket"), 101, "", false},
		"query":              {change("/v1/ws", "/v1/ws?x=y"), 101, "", false},
		"long header":        {handshakeRequest + "X-Long: " + strings.Repeat("x", 8000) + "\r\n", 101, "", false},
		"body of no bytes":   {handshakeRequest + "Content-Length: 0\r\n", 101, "", false},
		"other page":         {handshakeRequest + "Origin: https://evil.example\r\n", 403, "", false},
		"null page":          {handshakeRequest + "Origin: null\r\n", 403, "", false},
		"other subprotocol":  {handshakeRequest + "Sec-WebSocket-Protocol: other\r\n", 400, "", false},
		"basic auth":         {handshakeRequest + "Authorization: Basic x\r\n", 401, "", false},
		"two keys":           {handshakeRequest + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400, "", false},
		"short key":          {change("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), 400, "", false},
		"long key":           {change("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZXh4"), 400, "", false},
		"no host":            {change("Host: example.com\r\n", ""), 400, "", false},
		"no upgrade":         {change("Upgrade: websocket\r\n", ""), 426, "", false},
		"close":              {change("Connection: Upgrade", "Connection: close"), 426, "", false},
		"old version":        {change("Version: 13", "Version: 8"), 400, "", false},
		"HTTP/1.0":           {change("HTTP/1.1", "HTTP/1.0"), 426, "", false},
		"POST":               {change("GET", "POST"), 405, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := g.dialTCP(t)
			// The pong to this ping must come, though the ping comes before the handshake's answer.
			if _, err := io.WriteString(c, tc.request+"\r\n\x89\x80\x00\x00\x00\x00"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body // the connection's
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tc.status)
			}
			if tc.status != http.StatusSwitchingProtocols {
				return
			}
			if got := resp.Header.Get("Sec-WebSocket-Accept"); got != sampleAccept {
				t.Errorf("Sec-WebSocket-Accept %q, want %q", got, sampleAccept)
			}
			if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != tc.protocol {
				t.Errorf("Sec-WebSocket-Protocol %q, want %q", got, tc.protocol)
			}
			if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "" {
				t.Errorf("Sec-WebSocket-Extensions %q, want none", got)
			}
			opcode, payload, err := readServerFrame(r)
			if tc.welcome {
				if err != nil || opcode != 1 || !bytes.HasPrefix(payload, []byte(`{"op":"welcome"`)) {
					t.Fatalf("the first frame is %d %s %v, want the welcome", opcode, payload, err)
				}
				opcode, payload, err = readServerFrame(r)
			}
			if err != nil || opcode != 0xa {
				t.Errorf("got frame %d %s %v, want a pong", opcode, payload, err)
			}
		})
	}
}

// dialTCP opens a connection that has sent nothing yet.
func (g *gateway) dialTCP(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// readServerFrame reads one frame of less than 64 KiB, which a server must not mask.
func readServerFrame(r io.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 {
		return 0, nil, fmt.Errorf("frame begins with %x", head[0])
	}
	opcode = head[0] & 0x0f
	size := int(head[1])
	switch {
	case size > 126:
		return 0, nil, errors.New("frame is masked or too large")
	case size == 126:
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, nil, err
		}
		size = int(head[0])<<8 | int(head[1])
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	return opcode, payload, err
}

// A handshake may arrive in parts.
func TestHandshakeInParts(t *testing.T) {
	g := newGateway(t, Config{})
	whole := handshakeRequest + "\r\n"
	for i := 1; i < len(whole); i += 17 {
		c, r := g.dialTCP(t)
		for _, part := range []string{whole[:i], whole[i:]} {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("cut at %d: %s", i, resp.Status)
		}
	}
}
