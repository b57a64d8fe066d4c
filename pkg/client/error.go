package client

import (
	"errors"
	"fmt"
)

// ErrClosed is the error of a Client or a LiveBalance after its Close.
var ErrClosed = errors.New("client: closed")

// ErrUserSwitched ends the subscriptions and balances of the user before SwitchUser.
var ErrUserSwitched = errors.New("client: the user was switched")

// Error is a failure of the connection or of a subscription.
type Error struct {
	// Code is the gateway's code for a refused frame, handshake or connection, such as
	// ErrForbidden, or one of the codes below. errors.Is compares it.
	Code ErrorCode
	// Message says what to change. Programs must not parse it.
	Message string
	// CloseCode is the WebSocket close code, or 0.
	CloseCode int
	// Status is the HTTP status of a refused handshake, or 0.
	Status int

	cause error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("client: %s: %s", e.Code, e.Message) }

// Unwrap returns the error below, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether the target is the error's code.
func (e *Error) Is(target error) bool { return target == e.Code }

// The codes of errors that only a Client has.
const (
	ErrNetwork            = ErrorCode("network")      // the gateway cannot be reached, or the connection broke
	ErrTimeout            = ErrorCode("timeout")      // the gateway does not answer
	ErrTokenFailed        = ErrorCode("token_failed") // Config.Token failed
	ErrWrongURL           = ErrorCode("wrong_url")    // the URL is not a gateway's
	ErrProtocol           = ErrorCode("protocol")     // the gateway sent something impossible
	ErrRestart            = ErrorCode("restart")      // the gateway restarts
	ErrDisconnected       = ErrorCode("disconnected") // an administrator closed the connection
	ErrBadRequest         = ErrorCode("bad_request")  // the filter is malformed or over a limit
	ErrTooManySubs        = ErrorCode("too_many_subscriptions")
	ErrUnavailableBalance = ErrorCode("snapshot_unavailable") // the client tries again
)

const (
	codeDuplicate           = "duplicate_subscription"
	codeUnknownSubscription = "unknown_subscription"
)
