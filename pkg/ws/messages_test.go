package ws

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

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

// An incomplete message and an invalid WebSocket frame are answered with a close frame.
func TestBrokenMessageIsAnsweredWithCloseFrame(t *testing.T) {
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
		"reserved bits": {
			sent: []byte{0xf1, 0x80, 0, 0, 0, 0},
			code: 1002,
			text: "rsv",
		},
		"unknown opcode": {
			sent: rawFrame(true, 3, ""),
			code: 1002,
			text: "opcode",
		},
		"fragmented ping": {
			sent: rawFrame(false, 9, ""),
			code: 1002,
			text: "fragmented",
		},
		"continuation of nothing": {
			sent: rawFrame(true, 0, "x"),
			code: 1002,
			text: "continuation",
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
			if !strings.Contains(text, tc.text) {
				t.Errorf("close text: got %q, want text with %q", text, tc.text)
			}
			_ = conn.Close()
		})
	}
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
