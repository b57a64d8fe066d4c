package ws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A client is a real WebSocket client.
type client struct {
	t       testing.TB
	ws      *websocket.Conn
	pending []map[string]any // frames of the last message
	welcome map[string]any
}

// sendFrame sends a message.
func (c *client) sendFrame(frame string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	err := c.ws.Write(ctx, websocket.MessageText, []byte(frame))
	if err != nil {
		c.t.Fatalf("send %.100s: %v", frame, err)
	}
}

// sendAuth sends an auth frame.
func (c *client) sendAuth(token string) {
	c.t.Helper()
	c.sendFrame(`{"op":"auth","token":"` + token + `"}`)
}

// readFrame returns the next frame, or the error that ended the connection.
func (c *client) readFrame() (map[string]any, error) {
	for len(c.pending) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		_, message, err := c.ws.Read(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(string(message), "\n") {
			var f map[string]any
			err := json.Unmarshal([]byte(line), &f)
			if err != nil {
				c.t.Fatalf("got %q, want a JSON object: %v", line, err)
			}
			c.pending = append(c.pending, f)
		}
	}
	f := c.pending[0]
	c.pending = c.pending[1:]
	return f, nil
}

// expectFrame reads a frame with the op.
func (c *client) expectFrame(op string) map[string]any {
	c.t.Helper()
	f, err := c.readFrame()
	if err != nil {
		c.t.Fatalf("got %v, want op %s", err, op)
	}
	if f["op"] != op {
		c.t.Fatalf("got %v, want op %s", f, op)
	}
	return f
}

// expectError reads an error frame with the code.
func (c *client) expectError(code string) map[string]any {
	c.t.Helper()
	f := c.expectFrame("error")
	if f["code"] != code {
		c.t.Fatalf("got %v, want code %s", f, code)
	}
	return f
}

// expectPong checks that the connection is open and that no other frame is queued.
func (c *client) expectPong() {
	c.t.Helper()
	c.sendFrame(`{"op":"ping"}`)
	c.expectFrame("pong")
}

// expectEvents reads the events of an account from the seq from to the seq to.
func (c *client) expectEvents(sub, account string, from, to int64) {
	c.t.Helper()
	for seq := from; seq <= to; seq++ {
		f := c.expectFrame("event")
		got := fmt.Sprint(f["sub"], f["account"], f["seq"])
		want := fmt.Sprint(sub, account, float64(seq))
		if got != want {
			c.t.Fatalf("got %v, want event %d of %s for %s", f, seq, account, sub)
		}
	}
}

// expectClose reads until the connection is closed with the code. It returns the text of the close
// frame.
func (c *client) expectClose(code protocol.CloseCode) (text string) {
	c.t.Helper()
	for {
		_, err := c.readFrame()
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) {
			c.t.Fatalf("got %v, want close code %d", err, code)
		}
		if closed.Code != websocket.StatusCode(code) {
			c.t.Fatalf("got close code %d, want %d", closed.Code, code)
		}
		return closed.Reason
	}
}

// subscribedAccount returns the i-th account of a subscribed frame.
func subscribedAccount(f map[string]any, i int) map[string]any {
	list, _ := f["accounts"].([]any)
	account, _ := list[i].(map[string]any)
	return account
}

const subscribeFrame = `{"op":"subscribe","sub":"s"}`

// subscribe opens a subscription named s. It returns its first account in the subscribed frame.
func (c *client) subscribe() map[string]any {
	c.t.Helper()
	return c.subscribeWith(subscribeFrame)
}

// subscribeWith sends a subscribe frame. It returns the first account in the subscribed frame.
func (c *client) subscribeWith(frame string) map[string]any {
	c.t.Helper()
	c.sendFrame(frame)
	return subscribedAccount(c.expectFrame("subscribed"), 0)
}

// unsubscribe closes the subscription named s.
func (c *client) unsubscribe() {
	c.t.Helper()
	c.sendFrame(`{"op":"unsubscribe","sub":"s"}`)
	c.expectFrame("unsubscribed")
}

// sendResume subscribes to user:u1 after the seq.
func (c *client) sendResume(after int64) {
	c.t.Helper()
	c.sendFrame(fmt.Sprintf(
		`{"op":"subscribe","sub":"s","accounts":["user:u1"],"after":{"user:u1":%d}}`, after))
}

// expectResumed reads a subscribed frame that continues after the seq.
func (c *client) expectResumed(after int64) {
	c.t.Helper()
	a := subscribedAccount(c.expectFrame("subscribed"), 0)
	checkField(c.t, a, "seq", float64(after))
	checkField(c.t, a, "recovered", true)
	checkField(c.t, a, "snapshot", nil)
}

// expectResync reads a subscribed frame that begins at the seq, and the resync frame after it.
func (c *client) expectResync(seq int64, reason string) {
	c.t.Helper()
	a := subscribedAccount(c.expectFrame("subscribed"), 0)
	checkField(c.t, a, "seq", float64(seq))
	checkField(c.t, a, "recovered", false)

	c.expectResyncFrame(seq, reason)
}

// expectResyncFrame reads a resync frame of user:u1.
func (c *client) expectResyncFrame(seq int64, reason string) {
	c.t.Helper()
	f := c.expectFrame("resync")
	checkField(c.t, f, "seq", float64(seq))
	checkField(c.t, f, "reason", reason)
	checkField(c.t, f, "account", "user:u1")
	checkField(c.t, f, "sub", "s")
	checkSnapshot(c.t, f)
}
