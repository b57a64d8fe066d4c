package client

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

const (
	// liveLongEnough is how long a connection must have lived to count as a success. Otherwise a
	// gateway that accepts and closes at once would be called without a pause.
	liveLongEnough = 30 * time.Second
	// connectTimeout bounds a handshake, and after it the wait for the welcome frame.
	connectTimeout = 20 * time.Second
	writeTimeout   = 10 * time.Second
)

// A connection is one attempt to connect, and the connection if it succeeds. The client's mu
// protects it.
type connection struct {
	client *Client
	cancel context.CancelFunc // ends its goroutines
	socket socket             // nil: not open yet
	writes chan []byte        // messages for the writer
	frames frameQueue         // frames that wait for the limit of the gateway

	liveSince   time.Time     // zero: not authenticated yet
	heartbeat   time.Duration // between the gateway's pings
	lastFrame   time.Time     // when the gateway was last heard
	pinged      bool          // a ping waits for its answer
	watchdog    clock.Timer   // the next check
	reconnectAt time.Time     // the time of the gateway's frame reconnect, or zero
	drain       clock.Timer   // at reconnectAt
}

// connect begins an attempt to connect. The caller holds mu.
func (c *Client) connect() {
	c.stopRetryTimer()
	c.setState(State{Name: StateConnecting})
	reason := TokenForConnect
	if c.rejected {
		reason = TokenForRejected
	}
	c.requestToken(reason, c.dialWithToken)
}

// dialWithToken opens a connection. The caller holds mu.
func (c *Client) dialWithToken(token string, err error) {
	if err != nil {
		c.handleTokenError(err)
		return
	}
	c.rejected = false

	ctx, cancel := context.WithCancel(context.Background())
	conn := &connection{client: c, cancel: cancel, writes: make(chan []byte, maxWrites)}
	c.conn = conn
	conn.watchdog = c.cfg.clock.AfterFunc(connectTimeout, conn.endSlowHandshake)
	c.workers.Go(func() { conn.run(ctx, token) })
}

// handleTokenError pauses after a failed token function, or ends the client. The caller holds mu.
func (c *Client) handleTokenError(err error) {
	if isUnauthorized(err) {
		c.end(err)
		return
	}
	c.waitAndConnect(0, &Error{
		Code:    ErrTokenFailed,
		Message: "the token function failed: " + err.Error(),
		cause:   err,
	})
}

// run dials, and reads until the connection ends.
func (conn *connection) run(ctx context.Context, token string) {
	c := conn.client
	socket, err := c.cfg.dial(ctx, dialRequest{url: c.url, token: token, http: c.cfg.HTTPClient})
	if err != nil {
		conn.endWithError(err)
		return
	}
	if !conn.setSocket(ctx, socket) {
		socket.CloseNow()
		return
	}

	for {
		message, err := socket.Read(ctx)
		if err != nil {
			socket.CloseNow()
			conn.endWithError(err)
			return
		}
		conn.handleMessage(message)
	}
}

// setSocket starts the writer of an open connection. It returns false if the connection has been
// dropped meanwhile.
func (conn *connection) setSocket(ctx context.Context, socket socket) bool {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return false
	}
	conn.socket = socket
	conn.lastFrame = c.cfg.clock.Now()
	conn.setWatchdog(connectTimeout, conn.endSlowHandshake)
	c.workers.Go(func() { conn.writeMessages(ctx, socket) })
	return true
}

// maxWrites is the number of frames that wait for the writer.
const maxWrites = 64

// writeMessages writes frames until ctx ends or a write fails.
func (conn *connection) writeMessages(ctx context.Context, socket socket) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-conn.writes:
			writeCtx, cancel := context.WithTimeout(ctx, writeTimeout)
			err := socket.Write(writeCtx, message)
			cancel()
			if err != nil {
				socket.CloseNow() // so the reader ends too
				return
			}
		}
	}
}

// dropConnection ends the connection without a retry. The caller holds mu.
func (c *Client) dropConnection() {
	conn := c.conn
	if conn == nil {
		return
	}
	c.conn = nil
	conn.stopTimers()
	now := c.cfg.clock.Now()
	for s := range c.subs {
		s.disconnect(now)
	}
	clear(c.subsByName)

	if conn.socket == nil {
		conn.cancel()
		return
	}
	c.workers.Go(func() {
		defer conn.cancel()
		conn.socket.Close()
	})
}

// replaceConnection drops the connection and connects again after a pause. The caller holds mu.
func (c *Client) replaceConnection(atLeast time.Duration, err *Error) {
	conn := c.conn
	now := c.cfg.clock.Now()
	if !conn.liveSince.IsZero() && now.Sub(conn.liveSince) >= liveLongEnough {
		c.reconnects.reset()
	}
	c.dropConnection()
	if conn.reconnectAt.After(now) {
		c.waitUntil(conn.reconnectAt, err)
		return
	}
	// A gateway that asks for no pause at all must not get a storm.
	c.waitAndConnect(atLeast, err)
}

// waitAndConnect connects again after atLeast and a pause with full jitter. Many clients get the same
// atLeast, and must not come back together. The caller holds mu.
func (c *Client) waitAndConnect(atLeast time.Duration, err error) {
	now := c.cfg.clock.Now()
	pause := atLeast + c.reconnects.next(now)
	c.waitUntil(now.Add(pause), err)
}

// waitUntil connects again at a time. The caller holds mu.
func (c *Client) waitUntil(at time.Time, err error) {
	if c.isDial {
		c.end(err)
		return
	}
	c.cfg.Logger.Warn("no connection to the gateway; the client connects again", "delay", at.Sub(c.cfg.clock.Now()), "error", err)
	c.stopRetryTimer()
	c.retryTimer = c.cfg.clock.AfterFunc(at.Sub(c.cfg.clock.Now()), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.state.Name == StateWaiting && c.state.RetryAt.Equal(at) {
			c.connect()
		}
	})
	c.setState(State{Name: StateWaiting, RetryAt: at, Err: err})
}

func (c *Client) stopRetryTimer() {
	if c.retryTimer != nil {
		c.retryTimer.Stop()
	}
}

// endWithError handles the end of the connection that the gateway or the network caused.
func (conn *connection) endWithError(err error) {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return
	}
	end := describeEnd(err)
	if end.isFinal {
		c.end(end.err)
		return
	}
	c.rejected = end.tokenRejected
	c.replaceConnection(end.retryAfter, end.err)
}

// handleMessage handles the frames of a message.
func (conn *connection) handleMessage(message []byte) {
	frames, err := decodeMessage(message)
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return
	}
	conn.noteLife()
	for i := range frames {
		conn.handleFrame(&frames[i])
		if c.conn != conn {
			return
		}
	}
	if err != nil {
		c.replaceConnection(0, &Error{
			Code:    ErrProtocol,
			Message: "frames must be JSON objects: " + err.Error() + "; is a proxy changing them?",
			cause:   err,
		})
	}
}

// handleFrame handles one frame. The caller holds mu.
func (conn *connection) handleFrame(f *serverFrame) {
	c := conn.client
	switch f.Op {
	case "welcome":
		conn.handleWelcome(f)
	case "token_expiring":
		c.requestToken(TokenForRenewal, conn.renewToken)
	case "reconnect":
		conn.handleReconnect(time.Duration(f.AfterMs) * time.Millisecond)
	case "subscribed", "event", "resync", "unsubscribed":
		s := c.subsByName[f.Sub]
		if s != nil {
			s.handleFrame(f)
		}
	case "error":
		conn.handleErrorFrame(f)
	}
}

func (conn *connection) handleErrorFrame(f *serverFrame) {
	c := conn.client
	s := c.subsByName[f.Sub]
	if s != nil {
		s.handleError(f)
		return
	}
	if f.Code != codeUnknownSubscription {
		c.cfg.Logger.Warn("the gateway refused a frame", "code", f.Code, "error", f.Message)
	}
}

// handleWelcome begins the live time of a connection. The welcomes of renewals change nothing.
func (conn *connection) handleWelcome(f *serverFrame) {
	if !conn.liveSince.IsZero() {
		return
	}
	c := conn.client
	conn.liveSince = c.cfg.clock.Now()
	conn.heartbeat = time.Duration(f.HeartbeatSeconds) * time.Second
	conn.frames.refill(conn.liveSince)
	conn.watchSilence()
	c.isDial = false
	c.setState(State{Name: StateLive})
	for s := range c.subs {
		s.open()
	}
}

// renewToken sends a new token on the open connection. If there is none, the gateway closes the
// connection when the token ends, and the client asks again.
func (conn *connection) renewToken(token string, err error) {
	c := conn.client
	switch {
	case isUnauthorized(err):
		c.end(err)
	case c.conn != conn:
	case err != nil:
		c.cfg.Logger.Warn("renewing the token failed", "error", err)
		conn.retryRenewal()
	default:
		conn.queueFirst(encodeAuthFrame(token))
	}
}

// retryRenewal asks for a token again after a pause.
func (conn *connection) retryRenewal() {
	c := conn.client
	c.cfg.clock.AfterFunc(renewalPause, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conn == conn {
			c.requestToken(TokenForRenewal, conn.renewToken)
		}
	})
}

// renewalPause is the time between two attempts to renew a token. The gateway asks for a new one
// 30 s before the end.
const renewalPause = 5 * time.Second

// maxDrainDelay bounds the delay of a reconnect frame.
const maxDrainDelay = 10 * time.Minute

// handleReconnect plans the next connection for the time that the gateway asked for.
func (conn *connection) handleReconnect(after time.Duration) {
	c := conn.client
	after = min(max(after, 0), maxDrainDelay)
	conn.reconnectAt = c.cfg.clock.Now().Add(after)
	conn.drain = c.cfg.clock.AfterFunc(after, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conn == conn {
			c.replaceConnection(0, &Error{Code: ErrRestart, Message: fmt.Sprintf("the gateway asked to reconnect after %v", after)})
		}
	})
}

func (conn *connection) stopTimers() {
	if conn.watchdog != nil {
		conn.watchdog.Stop()
	}
	if conn.drain != nil {
		conn.drain.Stop()
	}
	conn.frames.stop()
}
