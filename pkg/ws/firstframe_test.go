package ws

import (
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Before a client has authenticated, it may send nothing but auth.
func TestAnythingButAuthClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	auth := `{"op":"auth","token":"` + mintTokenFor(t, "user:u1") + `"}`
	for name, message := range map[string]string{
		"another op":       `{"op":"ping"}`,
		"unknown op":       `{"op":"publish"}`,
		"no JSON":          "hello",
		"empty":            "",
		"nested deep":      strings.Repeat(`{"op":`, 2_600),
		"an array":         "[" + auth + "]",
		"other frame":      `{"op":"ping"}` + "\n" + auth,
		"member of others": `{"op":"auth","token":"t","sub":"s"}`,
		"too large":        strings.Repeat(" ", 16<<10) + auth,
	} {
		t.Run(name, func(t *testing.T) {
			c := g.dial(nil)
			c.t = t
			c.sendFrame(message)
			checkEqual(t, "close text", c.expectClose(protocol.CloseUnauthorized), "unauthorized")
		})
	}

	t.Run("binary", func(t *testing.T) {
		c := g.dial(nil)
		c.t = t
		err := c.ws.Write(t.Context(), websocket.MessageBinary, []byte(auth))
		if err != nil {
			t.Fatal(err)
		}
		c.expectClose(protocol.CloseUnauthorized)
	})
}

// The frames after auth may be in the same message.
func TestFramesAfterAuthInOneMessage(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(nil)
	auth := `{"op":"auth","token":"` + mintTokenFor(t, "user:u1") + `"}`
	c.sendFrame(auth + "\n" + subscribeFrame + "\n" + `{"op":"ping"}` + "\nrubbish")
	c.expectFrame("welcome")
	c.expectFrame("subscribed")
	c.expectFrame("pong")
	c.expectError(protocol.CodeBadRequest)
	c.expectPong()
}

// Clients that have not authenticated cost little memory, whatever they send. A frame of 15.6 KB,
// nested 2,600 levels deep, once cost 1.8 MB.
func TestNestedFirstFramesCostLittleMemory(t *testing.T) {
	const clients = 50
	const limit = 256 << 10 // bytes allocated for each client, most of them to read its message
	g := newGateway(t, Config{})
	frame := rawFrame(true, 1, strings.Repeat(`{"op":`, 2_600))
	var conns []net.Conn
	for range clients {
		conns = append(conns, g.dialRaw())
	}

	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() {
			_, err := conn.Write(frame)
			if err != nil {
				t.Errorf("write: %v", err)
			}
			_, _ = io.CopyN(io.Discard, conn, 4) // the header and the code of the close frame
			_ = conn.Close()
		})
	}
	wg.Wait()
	g.waitForConnections(0)
	runtime.ReadMemStats(&after)

	heap := int64(after.TotalAlloc - before.TotalAlloc)
	stacks := int64(after.StackSys) - int64(before.StackSys)
	cost := (heap + stacks) / clients
	if cost > limit {
		t.Errorf("cost of a client: got %d KiB, want at most %d KiB", cost>>10, limit>>10)
	}
}
