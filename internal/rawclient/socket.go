package rawclient

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/coder/websocket"
)

// maxMessage is the maximum size of a message of a gateway, in bytes.
const maxMessage = 8 << 20

// Socket is a WebSocket connection to a gateway.
type Socket struct {
	WS      *websocket.Conn
	pending [][]byte // frames of the last message
}

// Dial connects to a gateway, such as http://127.0.0.1:8081. The token is sent in a header.
func Dial(ctx context.Context, gatewayURL, token string, httpClient *http.Client) (*Socket, error) {
	//nolint:bodyclose // websocket.Dial says that the body needs no closing
	ws, _, err := websocket.Dial(ctx, gatewayURL+"/v1/ws", &websocket.DialOptions{
		HTTPClient:   httpClient,
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxMessage)
	return &Socket{WS: ws}, nil
}

// Close closes the connection without a close frame.
func (s *Socket) Close() { _ = s.WS.CloseNow() }

// Send sends a frame.
func (s *Socket) Send(ctx context.Context, frame any) error {
	text, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	return s.WS.Write(ctx, websocket.MessageText, text)
}

// Ping sends the frame ping.
func (s *Socket) Ping(ctx context.Context) error {
	return s.Send(ctx, map[string]string{"op": "ping"})
}

// Next returns the next frame. A message has one frame on each line.
func (s *Socket) Next(ctx context.Context) (Frame, error) {
	if len(s.pending) == 0 {
		_, message, err := s.WS.Read(ctx)
		if err != nil {
			return Frame{}, err
		}
		s.pending = bytes.Split(message, []byte("\n"))
	}
	text := s.pending[0]
	s.pending = s.pending[1:]
	return ParseFrame(text)
}
