//go:build linux

package fleet

import (
	"bytes"
	"fmt"
)

// Client is who a connection is for and what it asks for.
type Client struct {
	Account string
	Token   string
	After   int64 // seq to resume from; negative: from now on
}

// A Dialect is the protocol that a server speaks above WebSocket messages.
type Dialect interface {
	// Request is the path and further header lines of the handshake.
	Request(c *Client) (path, header string)
	// Hello is the first message: it opens the client's one subscription.
	Hello(c *Client) string
	// Opened tells whether the message says that the subscription is open.
	Opened(message []byte) bool
	// Failed tells whether the message is an error.
	Failed(message []byte) bool
	// Pong answers the protocol's own ping; empty: the message is none.
	Pong(message []byte) string
}

// Wallet is wallet.v1, the gateway's protocol.
type Wallet struct{}

// Request implements Dialect.
func (Wallet) Request(c *Client) (path, header string) {
	return "/v1/ws", "Sec-WebSocket-Protocol: wallet.v1\r\nAuthorization: Bearer " + c.Token + "\r\n"
}

// Hello implements Dialect.
func (Wallet) Hello(c *Client) string {
	if c.After < 0 {
		return fmt.Sprintf(`{"op":"subscribe","sub":"wallet","accounts":[%q]}`, c.Account)
	}
	return fmt.Sprintf(`{"op":"subscribe","sub":"wallet","accounts":[%q],"after":{%q:%d}}`, c.Account, c.Account, c.After)
}

// Opened implements Dialect.
func (Wallet) Opened(message []byte) bool {
	return bytes.Contains(message, []byte(`"op":"subscribed"`)) // behind the welcome, perhaps
}

// Failed implements Dialect.
func (Wallet) Failed(message []byte) bool {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if bytes.HasPrefix(line, []byte(`{"op":"error"`)) || bytes.HasPrefix(line, []byte(`{"op":"re`)) { // resync, reconnect
			return true
		}
	}
	return false
}

// Pong implements Dialect: the gateway uses WebSocket's own.
func (Wallet) Pong([]byte) string { return "" }

// Centrifuge is the JSON protocol of the centrifuge library.
type Centrifuge struct{}

// Request implements Dialect.
func (Centrifuge) Request(*Client) (path, header string) { return "/connection/websocket", "" }

// Hello implements Dialect. An empty epoch matches any: histories are in memory,
// so a fresh server has other epochs than the last one.
func (Centrifuge) Hello(c *Client) string {
	recovery := ""
	if c.After >= 0 {
		recovery = fmt.Sprintf(`,"recover":true,"epoch":"","offset":%d`, c.After)
	}
	return fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`+"\n"+`{"id":2,"subscribe":{"channel":%q%s}}`, c.Token, c.Account, recovery)
}

// Opened implements Dialect.
func (Centrifuge) Opened(message []byte) bool {
	return bytes.Contains(message, []byte(`"subscribe":{`))
}

// Failed implements Dialect.
func (Centrifuge) Failed(message []byte) bool {
	return bytes.Contains(message, []byte(`"error":{`)) || bytes.Contains(message, []byte(`"disconnect":{`))
}

// Pong implements Dialect.
func (Centrifuge) Pong(message []byte) string {
	if string(message) == "{}" {
		return "{}"
	}
	return ""
}
