package ws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
	"github.com/redroomrewards/realtime/pkg/ws/internal/revocation"
)

// An Identity describes a client and the events that it may see.
type Identity struct {
	Subject     string    // the subject of the token; only a token with the same subject renews it
	Accounts    []string  // the accounts that the client may see, and its default subscription
	AllAccounts bool      // the client may see every account and may subscribe to ["*"]
	TokenID     string    // for Hub.Revoke; may be empty
	IssuedAt    time.Time // for Hub.Revoke; zero counts as older than any revocation
	ExpiresAt   time.Time // when the connection ends; required
}

// tokenScope returns the accounts that the client may see.
func (id *Identity) tokenScope() request.Scope {
	return request.Scope{
		Accounts:    id.Accounts,
		AllAccounts: id.AllAccounts,
	}
}

// revocableToken returns the fields of the token on which a revocation depends.
func (id *Identity) revocableToken() revocation.Token {
	return revocation.Token{
		ID:       id.TokenID,
		Accounts: id.Accounts,
		IssuedAt: id.IssuedAt,
	}
}

// An Authenticator checks the tokens of clients. Several goroutines may call it at the same time.
type Authenticator interface {
	// Authenticate returns the identity of a token. Neither side changes the identity afterwards.
	//
	// An error refuses the token with HTTP 401 or close code 4401. An *AuthError can give the
	// reason and can ask the client to try again later. The text of any other error is not sent to
	// the client.
	Authenticate(ctx context.Context, token string) (*Identity, error)
}

// An AuthError says why a token is refused.
type AuthError struct {
	// Reason is sent to the client. It must not contain the token.
	Reason string
	// RetryAfter is greater than zero when the token temporarily cannot be checked. It is the time
	// after which the client may try again. The response is HTTP 503 with Retry-After or close code
	// 1011.
	RetryAfter time.Duration
}

// Error implements error.
func (e *AuthError) Error() string { return e.Reason }

// asAuthError returns the error as an AuthError that may be sent to the client.
func asAuthError(err error) *AuthError {
	var authErr *AuthError
	if errors.As(err, &authErr) {
		return authErr
	}

	return &AuthError{Reason: "the token is not accepted"}
}

// bearerToken returns the token of the Authorization header. It returns "" when the header does not
// have the scheme Bearer.
func bearerToken(h http.Header) string {
	scheme, token, found := strings.Cut(h.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}

	return strings.TrimSpace(token)
}
