package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// writeTimeout bounds each write to a client.
const writeTimeout = 30 * time.Second

// A Conn is a connection: a WebSocket, an event stream, or a request that is never answered.
type Conn struct {
	Request *Request
	server  *Server
	socket  *websocket.Conn

	stream    chan string
	streamEnd chan bool // true cuts the connection

	mu     sync.Mutex
	ended  bool // by the scenario, so that the client's end is no news
	silent bool
	gone   bool // the client has ended it
	end    chan struct{}
}

func newConn(s *Server, q *Request) *Conn {
	return &Conn{Request: q, server: s, end: make(chan struct{})}
}

// IsOpen tells whether neither side has ended the connection or made it silent.
func (c *Conn) IsOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && !c.silent && !c.gone
}

// noteClosed reports the client's end of the connection, unless the scenario ended it.
func (c *Conn) noteClosed(closed Closed) {
	c.mu.Lock()
	expected := c.ended || c.silent
	c.gone = true
	c.mu.Unlock()
	if !expected {
		c.server.note(Note{Conn: c, Closed: &closed})
	}
}

func (c *Conn) markEnded() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.gone {
		return errNotOpen
	}
	c.ended = true
	return nil
}

// readSocket notes the frames of the client until the connection ends.
func (c *Conn) readSocket(ctx context.Context) {
	defer close(c.end)
	c.socket.SetReadLimit(1 << 20)
	for {
		_, message, err := c.socket.Read(ctx)
		if err != nil {
			c.noteClosed(closedBy(err))
			_ = c.socket.CloseNow()
			return
		}
		for text := range strings.SplitSeq(string(message), "\n") {
			c.server.note(Note{Conn: c, Frame: parseFrame(text)})
		}
	}
}

func closedBy(err error) Closed {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		return Closed{Code: int(closed.Code), Reason: closed.Reason}
	}
	return Closed{}
}

func parseFrame(text string) any {
	var frame map[string]any
	if err := json.Unmarshal([]byte(text), &frame); err != nil {
		return text
	}
	return frame
}

// SendFrames sends frames in one message. On a stream each is an event.
func (c *Conn) SendFrames(frames []any) error {
	var texts []string
	for _, f := range frames {
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if c.stream != nil {
			text = append(text, '\n', '\n')
			text = append([]byte(eventID(f)+"data: "), text...)
		}
		texts = append(texts, string(text))
	}
	if c.stream != nil {
		return c.SendText(strings.Join(texts, ""))
	}
	return c.SendText(strings.Join(texts, "\n"))
}

// SendText sends a text as one message, or as it is on a stream.
func (c *Conn) SendText(text string) error {
	if c.stream != nil {
		timer := time.NewTimer(writeTimeout)
		defer timer.Stop()
		select {
		case c.stream <- text:
			return nil
		case <-c.end:
			return errNotOpen
		case <-timer.C:
			return fmt.Errorf("the client must read")
		}
	}
	if c.socket == nil {
		return errNotOpen
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return c.socket.Write(ctx, websocket.MessageText, []byte(text))
}

// writeStream writes the texts of the scenario until one side ends the stream.
func (c *Conn) writeStream(w http.ResponseWriter, r *http.Request) {
	defer close(c.end)
	for {
		select {
		case text := <-c.stream:
			_, _ = fmt.Fprint(w, text)
			_ = http.NewResponseController(w).Flush()
		case cut := <-c.streamEnd:
			if cut {
				panic(http.ErrAbortHandler)
			}
			return
		case <-r.Context().Done():
			c.noteClosed(Closed{})
			return
		case <-c.server.ctx.Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// eventID returns the id field of a frame's event: the position of its account.
func eventID(frame any) string {
	object, _ := frame.(map[string]any)
	position := object
	if accounts, ok := object["accounts"].([]any); ok && len(accounts) == 1 {
		position, _ = accounts[0].(map[string]any)
	}
	account, isString := position["account"].(string)
	seq, isNumber := position["seq"].(float64)
	if !isString || !isNumber {
		return ""
	}
	return fmt.Sprintf("id: %s=%d:%v\n", account, int64(seq), position["chain"])
}

// Close ends the connection with a code. A stream gets a frame closed, unless the code is 0.
func (c *Conn) Close(code int, reason string) error {
	if err := c.markEnded(); err != nil {
		return err
	}
	if c.stream == nil {
		return c.socket.Close(websocket.StatusCode(code), reason)
	}
	if code != 0 {
		frame := map[string]any{"op": "closed", "code": code, "reason": reason}
		if err := c.SendFrames([]any{frame}); err != nil {
			return err
		}
	}
	c.streamEnd <- false // the client may have ended the stream by itself
	return nil
}

// Drop cuts the TCP connection.
func (c *Conn) Drop() error {
	if err := c.markEnded(); err != nil {
		return err
	}
	if c.stream != nil {
		c.streamEnd <- true
		return nil
	}
	return c.socket.CloseNow()
}

// Silence stops reading and writing. The TCP connection stays open.
func (c *Conn) Silence() error {
	c.mu.Lock()
	c.silent = true
	c.mu.Unlock()
	c.Request.raw.silence()
	return nil
}

// Settle returns when the client has read everything that was sent to it. For a stream it cannot
// know that.
func (c *Conn) Settle(wait time.Duration) {
	if c.socket == nil || !c.IsOpen() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_ = c.socket.Ping(ctx)
}
