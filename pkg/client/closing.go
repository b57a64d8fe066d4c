package client

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// connectionEnd is the reason for the end of a connection, with the next steps of the client.
type connectionEnd struct {
	err           *Error
	isFinal       bool // the client ends
	tokenRejected bool
	retryAfter    time.Duration
}

func isUnauthorized(err error) bool { return errors.Is(err, ErrUnauthorized) }

// describeEnd returns what an error of a connection means.
func describeEnd(err error) connectionEnd {
	var refusal *handshakeError
	if errors.As(err, &refusal) {
		return describeRefusal(refusal)
	}
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		return describeClose(closed)
	}
	return connectionEnd{err: &Error{
		Code:    ErrNetwork,
		Message: "the gateway cannot be reached or the connection broke: " + err.Error(),
		cause:   err,
	}}
}

// describeClose returns what a close code means.
func describeClose(closed websocket.CloseError) connectionEnd {
	code, message := explainClose(closed)
	return connectionEnd{
		err:           &Error{Code: code, Message: message, CloseCode: int(closed.Code), cause: closed},
		isFinal:       closed.Code == 4403 || closed.Code == 4410,
		tokenRejected: closed.Code == 4401,
	}
}

// explainClose returns the code and the message of a close.
func explainClose(closed websocket.CloseError) (code ErrorCode, message string) {
	switch closed.Code {
	case 1001:
		return "going_away", "the gateway ended"
	case 1011:
		return "internal_error", "the gateway had an internal error"
	case 1012:
		return ErrRestart, "the gateway restarts"
	case 4400:
		return ErrBadRequest, "the gateway refused frames of this client; update the client"
	case 4401:
		return ErrUnauthorized, "the token is missing, invalid or expired; Config.Token must return a valid token"
	case 4403:
		return ErrForbidden, "the token was revoked; log in again"
	case 4408:
		return "auth_timeout", "the token or a message did not arrive in time"
	case 4410:
		return ErrDisconnected, "an administrator closed the connection: " + closed.Reason
	case 4413:
		return "slow_consumer", "this program reads too slowly; the events continue after the reconnect"
	case 4429:
		return "rate_limited", "there are too many connections of the account or the address, or too many frames"
	default:
		return ErrNetwork, "the connection was closed with code " + strconv.Itoa(int(closed.Code)) + ": " + closed.Reason
	}
}

// describeRefusal returns what a refused handshake means.
func describeRefusal(refusal *handshakeError) connectionEnd {
	code, message := explainRefusal(refusal)
	return connectionEnd{
		err:           &Error{Code: code, Message: message, Status: refusal.status, cause: refusal},
		isFinal:       refusal.status == http.StatusForbidden && refusal.code == ErrForbidden,
		tokenRejected: refusal.status == http.StatusUnauthorized,
		retryAfter:    refusal.retryAfter,
	}
}

// explainRefusal returns the code and the message of a refused handshake.
func explainRefusal(refusal *handshakeError) (code ErrorCode, message string) {
	if refusal.code == "" || refusal.status == http.StatusNotFound {
		return ErrWrongURL, "the server answered " + describeStatus(refusal.status) +
			" and is not a gateway; the URL must be like wss://gateway.example.com/v1/ws"
	}
	message = strings.TrimSuffix(refusal.detail, ".")
	switch refusal.status {
	case http.StatusUnauthorized:
		message += "; Config.Token must return a valid token"
	case http.StatusForbidden:
		message += "; the token was revoked, or the origin is not among the gateway's --allowed-origins"
	}
	return refusal.code, message
}

func describeStatus(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return strconv.Itoa(status)
	}
	return strconv.Itoa(status) + " " + text
}
