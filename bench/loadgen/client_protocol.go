//go:build linux

package loadgen

import (
	"bytes"
	"fmt"
)

// Client describes one connection and its subscription.
type Client struct {
	Account string
	Token   string
	After   int64 // seq to resume after; negative: only new events
}

// A ClientProtocol is the client side of a protocol on top of WebSocket messages.
type ClientProtocol interface {
	// Request returns the path and the additional header lines of the handshake.
	Request(c *Client) (path, header string)
	// Hello returns the first message. It opens the client's one subscription.
	Hello(c *Client) string
	// Opened reports whether the message confirms the subscription.
	Opened(message []byte) bool
	// Failed reports whether the message is an error.
	Failed(message []byte) bool
	// Pong returns the answer to a ping of the protocol. It is empty for other messages.
	Pong(message []byte) string
}

// Wallet is wallet.v1, the gateway's protocol.
type Wallet struct{}

// Request implements ClientProtocol.
func (Wallet) Request(c *Client) (path, header string) {
	return "/v1/ws", "Sec-WebSocket-Protocol: wallet.v1\r\nAuthorization: Bearer " + c.Token + "\r\n"
}

// Hello implements ClientProtocol.
func (Wallet) Hello(c *Client) string {
	if c.After < 0 {
		return fmt.Sprintf(`{"op":"subscribe","sub":"wallet","accounts":[%q]}`, c.Account)
	}
	return fmt.Sprintf(`{"op":"subscribe","sub":"wallet","accounts":[%q],"after":{%q:%d}}`,
		c.Account, c.Account, c.After)
}

// Opened implements ClientProtocol.
func (Wallet) Opened(message []byte) bool {
	return bytes.Contains(message, []byte(`"op":"subscribed"`)) // the message may begin with the welcome
}

// Failed implements ClientProtocol.
func (Wallet) Failed(message []byte) bool {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		isError := bytes.HasPrefix(line, []byte(`{"op":"error"`))
		isRestart := bytes.HasPrefix(line, []byte(`{"op":"re`)) // resync or reconnect
		if isError || isRestart {
			return true
		}
	}

	return false
}

// Pong implements ClientProtocol. The gateway uses WebSocket pings, so there is nothing to answer.
func (Wallet) Pong([]byte) string { return "" }

// Centrifuge is the JSON protocol of the centrifuge library.
type Centrifuge struct{}

// Request implements ClientProtocol.
func (Centrifuge) Request(*Client) (path, header string) { return "/connection/websocket", "" }

// Hello implements ClientProtocol. An empty epoch matches any epoch. It is necessary because
// histories are in memory, so a new server has new epochs.
func (Centrifuge) Hello(c *Client) string {
	recovery := ""
	if c.After >= 0 {
		recovery = fmt.Sprintf(`,"recover":true,"epoch":"","offset":%d`, c.After)
	}

	const format = `{"id":1,"connect":{"token":%q}}` + "\n" + `{"id":2,"subscribe":{"channel":%q%s}}`
	return fmt.Sprintf(format, c.Token, c.Account, recovery)
}

// Opened implements ClientProtocol.
func (Centrifuge) Opened(message []byte) bool {
	return bytes.Contains(message, []byte(`"subscribe":{`))
}

// Failed implements ClientProtocol.
func (Centrifuge) Failed(message []byte) bool {
	return bytes.Contains(message, []byte(`"error":{`)) || bytes.Contains(message, []byte(`"disconnect":{`))
}

// Pong implements ClientProtocol.
func (Centrifuge) Pong(message []byte) string {
	if string(message) == "{}" {
		return "{}"
	}
	return ""
}
