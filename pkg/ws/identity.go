package ws

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Identity says who a client is and which events it may see.
type Identity struct {
	Subject     string    // whom the token was issued to; a token renews only one of the same subject
	Accounts    []string  // accounts that the client may see, which it subscribes to unless it names others
	AllAccounts bool      // the client may see every account, and may subscribe to ["*"]
	TokenID     string    // for Hub.Revoke; may be empty
	IssuedAt    time.Time // for Hub.Revoke; zero counts as older than any revocation
	ExpiresAt   time.Time // when the connection ends; required
}

// maySee reports whether the client may see the account's events.
func (id *Identity) maySee(account string) bool {
	return id.AllAccounts || slices.Contains(id.Accounts, account)
}

// An Authenticator checks the tokens that clients bring. It is called by several goroutines.
type Authenticator interface {
	// Authenticate returns the identity of a token's bearer, which neither side changes afterwards.
	// An error refuses the token: HTTP 401, or close code 4401. An *AuthError may say why, and may
	// ask the client to come back later. The text of other errors is not shown to the client.
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

// An AuthError says why a token was not accepted.
type AuthError struct {
	// Reason is shown to the client. It must not quote the token.
	Reason string
	// RetryAfter above zero says that the token could not be checked at the moment, and when the
	// client may try again: HTTP 503 with Retry-After, or close code 1011.
	RetryAfter time.Duration
}

// Error implements error.
func (e *AuthError) Error() string { return e.Reason }

// asAuthError returns the error as an AuthError that may be shown to the client.
func asAuthError(err error) *AuthError {
	var known *AuthError
	if errors.As(err, &known) {
		return known
	}
	return &AuthError{Reason: "the token is not accepted"}
}

// bearerToken returns the token of the Authorization header. It is empty when the header has none
// of the scheme Bearer.
func bearerToken(h http.Header) string {
	scheme, token, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
