package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// socket is an open connection to the gateway.
type socket interface {
	// Read returns the next message. It is called by one goroutine. A closed connection returns a
	// websocket.CloseError.
	Read(ctx context.Context) ([]byte, error)
	// Write sends a message. It is called by one goroutine.
	Write(ctx context.Context, message []byte) error
	// Close closes the connection with a normal close code. It may wait for the gateway for 5 s.
	Close()
	// CloseNow cuts the connection.
	CloseNow()
}

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, d dialRequest) (socket, error)

type dialRequest struct {
	url   string
	token string
	http  *http.Client
}

// handshakeError is the refusal of a handshake.
type handshakeError struct {
	status     int
	code       ErrorCode // of the problem document, or empty
	detail     string
	retryAfter time.Duration
	cause      error
}

// Error implements error.
func (e *handshakeError) Error() string { return e.cause.Error() }

// maxMessageSize is above what a gateway sends in one message: 1 MiB of frames wait for a client.
const maxMessageSize = 8 << 20

// dialWebSocket opens a WebSocket. The token is in the handshake, so that a refusal is an HTTP
// answer that says why.
func dialWebSocket(ctx context.Context, d dialRequest) (socket, error) {
	conn, response, err := websocket.Dial(ctx, d.url, &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPClient:   d.http,
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + d.token}},
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil && response != nil {
		return nil, readRefusal(response, err)
	}
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxMessageSize)
	return &webSocket{conn: conn}, nil
}

// readRefusal reads the problem document of a refused handshake.
func readRefusal(response *http.Response, cause error) error {
	refusal := &handshakeError{
		status:     response.StatusCode,
		retryAfter: parseRetryAfter(response.Header.Get("Retry-After"), time.Now()),
		cause:      cause,
	}
	if response.StatusCode == http.StatusSwitchingProtocols || response.Body == nil {
		return refusal
	}

	var problem struct {
		Code   ErrorCode `json:"code"`
		Detail string    `json:"detail"`
	}
	body, _ := io.ReadAll(response.Body) // Dial has read at most 1 KiB
	if json.Unmarshal(body, &problem) == nil {
		refusal.code = problem.Code
		refusal.detail = problem.Detail
	}
	return refusal
}

// maxRetryAfter bounds the pause that a server may ask for.
const maxRetryAfter = time.Hour

// parseRetryAfter returns the pause of a Retry-After header, or 0.
func parseRetryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(header, 10, 32)
	if err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// webSocket is a socket on the network.
type webSocket struct{ conn *websocket.Conn }

// Read implements socket.
func (w *webSocket) Read(ctx context.Context) ([]byte, error) {
	kind, message, err := w.conn.Read(ctx)
	if err == nil && kind != websocket.MessageText {
		return nil, errors.New("messages of the gateway must be text")
	}
	return message, err
}

// Write implements socket.
func (w *webSocket) Write(ctx context.Context, message []byte) error {
	return w.conn.Write(ctx, websocket.MessageText, message)
}

// Close implements socket.
func (w *webSocket) Close() { _ = w.conn.Close(websocket.StatusNormalClosure, "") }

// CloseNow implements socket.
func (w *webSocket) CloseNow() { _ = w.conn.CloseNow() }

// checkURL returns an error unless the URL can be a gateway's.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return &Error{Code: ErrWrongURL, Message: err.Error(), cause: err}
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss":
		return wrongURL(address, "it must begin with ws:// or wss://")
	case u.Host == "":
		return wrongURL(address, "it must have a host")
	case strings.Trim(u.Path, "/") == "":
		return wrongURL(address, "it must have the path of the endpoint")
	default:
		return nil
	}
}

func wrongURL(address, what string) *Error {
	return &Error{
		Code:    ErrWrongURL,
		Message: "the URL " + strconv.Quote(address) + " is not a gateway's: " + what + ", like wss://gateway.example.com/v1/ws",
	}
}
