package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

// TokenReason says why the client needs a token.
type TokenReason string

// The reasons for which a Client calls its token function.
const (
	TokenForConnect  TokenReason = "connect"  // for the next connection
	TokenForRenewal  TokenReason = "expiring" // the connection's token expires soon
	TokenForRejected TokenReason = "rejected" // the gateway refused the last token: get a new one
)

// TokenReasonOf returns why a Client calls its token function with this context. It returns the empty
// reason in a call of a Ledger.
func TokenReasonOf(ctx context.Context) TokenReason {
	reason, _ := ctx.Value(tokenReasonKey{}).(TokenReason)
	return reason
}

type tokenReasonKey struct{}

// StaticToken returns a token function for a token that never changes. A Client ends when the gateway
// refuses the token.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if TokenReasonOf(ctx) == TokenForRejected {
			return "", fmt.Errorf("the gateway refused the static token; use a function that gets a new one: %w", ErrUnauthorized)
		}
		return token, nil
	}
}

// Config configures a Client.
type Config struct {
	// Token returns a token for the gateway. It is required. The client calls it for each connection,
	// when a token expires soon, and after the gateway refused one: TokenReasonOf tells why. There is
	// never more than one call at a time. It must return when its context ends, after 30 s at the
	// latest. After an error the client calls it again, after a pause. An error that wraps
	// ErrUnauthorized ends the client.
	Token func(ctx context.Context) (string, error)
	// HTTPClient makes the handshakes. The default is http.DefaultClient.
	HTTPClient *http.Client
	// Logger receives failures that the client recovers from. The default is slog.Default().
	Logger *slog.Logger
	// QueueSize is the number of items that wait for a slow reader of Events. The default is 256.
	QueueSize int

	dial  dialFunc
	clock clock.Clock
}

const defaultQueueSize = 256

// setDefaults validates the configuration and fills it in.
func (c *Config) setDefaults() error {
	if c.Token == nil {
		return errors.New("client: Config.Token must be set; use StaticToken for a fixed token")
	}
	if c.HTTPClient == nil {
		c.HTTPClient = http.DefaultClient
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.QueueSize <= 0 {
		c.QueueSize = defaultQueueSize
	}
	if c.dial == nil {
		c.dial = dialWebSocket
	}
	if c.clock == nil {
		c.clock = clock.Default
	}
	return nil
}
