package ws

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// padPing returns a ping frame of that many bytes.
func padPing(size int) string {
	const frame = `{"op":"ping"}`
	return frame + strings.Repeat(" ", size-len(frame))
}

func TestMessageOfMaximumSizeIsAccepted(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.sendFrame(padPing(16 << 10))
	c.expectFrame("pong")
}

func TestTooLargeMessageClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.sendFrame(padPing(16<<10 + 1))
	checkEqual(t, "close text", c.expectClose(protocol.CloseTooBig), "message_too_big")
}

// An incomplete message is answered with a close frame.
func TestIncompleteMessageIsAnsweredWithCloseFrame(t *testing.T) {
	g := newGateway(t, Config{MessageTimeout: 100 * time.Millisecond})
	for name, tc := range map[string]struct {
		sent []byte
		code uint16
		text string
	}{
		"half a message": {
			sent: rawFrame(false, 1, `{"op":`),
			code: 4408,
			text: "message_timeout",
		},
		"half a frame": {
			sent: rawFrame(true, 1, subscribeFrame)[:12],
			code: 4408,
			text: "message_timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := g.dialRaw("user:u1")
			_, err := conn.Write(tc.sent)
			if err != nil {
				t.Fatal(err)
			}
			code, text := readCloseFrame(t, conn)
			checkEqual(t, "close code", code, tc.code)
			checkEqual(t, "close text", text, tc.text)
			_ = conn.Close()
		})
	}
}

// A frame that violates RFC 6455 is answered with close code 1002 and a text that names the
// violation, before and after authentication.
func TestInvalidFrameIsAnsweredWithProtocolError(t *testing.T) {
	impossible := binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<63)
	var masked [4]byte
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	connections := 0
	for name, tc := range map[string]struct {
		sent []byte
		text string // a part of the close text
	}{
		"unmasked":                  {[]byte{0x81, 2, '{', '}'}, "unmasked"},
		"unmasked ping":             {[]byte{0x89, 0}, "unmasked"},
		"unmasked in a message":     {append(rawFrame(false, 1, "{"), 0x80, 1, '}'), "unmasked"},
		"length with the top bit":   {append(impossible, masked[:]...), "length"},
		"all bits of the length":    {bytes.Repeat([]byte{0xff}, 14), "length"},
		"ping of 126 bytes":         {rawFrame(true, 9, strings.Repeat("p", 126)), "length"},
		"close of 126 bytes":        {rawFrame(true, 8, strings.Repeat("c", 126)), "length"},
		"close of one byte":         {rawFrame(true, 8, "c"), "too small"},
		"close with code 1005":      {rawFrame(true, 8, "\x03\xed"), "status code"},
		"fragmented ping":           {rawFrame(false, 9, ""), "fragmented"},
		"reserved bits":             {[]byte{0xf1, 0x80, 0, 0, 0, 0}, "rsv"},
		"compression was not asked": {[]byte{0xc1, 0x80, 0, 0, 0, 0}, "rsv"},
		"unknown opcode":            {rawFrame(true, 3, ""), "opcode"},
		"unknown control opcode":    {rawFrame(true, 11, ""), "opcode"},
		"continuation of nothing":   {rawFrame(true, 0, "x"), "continuation"},
		"message in a message":      {append(rawFrame(false, 1, "{"), rawFrame(true, 1, "}")...), "previous message"},
	} {
		for when, accounts := range map[string][]string{
			"before authentication": nil,
			"after authentication":  {"user:u1"},
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				conn := g.dialRaw(accounts...)
				connections++
				_, err := conn.Write(tc.sent)
				if err != nil {
					t.Fatal(err)
				}
				code, text := readCloseFrame(t, conn)
				checkEqual(t, "close code", code, 1002)
				if !strings.Contains(text, tc.text) {
					t.Errorf("close text: got %q, want text with %q", text, tc.text)
				}
				_ = conn.Close()
			})
		}
	}
	waitForMetric(t, reg, "realtime_gateway_closes_total", "1002", float64(connections))
}

// readCloseFrame reads until a close frame has arrived. All other frames must be ASCII.
func readCloseFrame(t *testing.T, conn net.Conn) (code uint16, text string) {
	t.Helper()
	err := conn.SetReadDeadline(time.Now().Add(testTimeout))
	if err != nil {
		t.Fatal(err)
	}
	var received []byte
	b := make([]byte, 1<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("got %v, want a close frame", err)
		}
		received = append(received, b[:n]...)
		i := bytes.LastIndexByte(received, 0x88)
		if i < 0 || i+1 >= len(received) {
			continue
		}
		size := int(received[i+1])
		if len(received) == i+2+size {
			payload := received[i+2:]
			return binary.BigEndian.Uint16(payload), string(payload[2:])
		}
	}
}
