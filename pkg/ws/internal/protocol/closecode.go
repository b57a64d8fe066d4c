package protocol

import "strconv"

// A CloseCode is a WebSocket close code of the protocol.
type CloseCode int

// The codes that the gateway closes with.
const (
	CloseNormal       CloseCode = 1000
	CloseGoingAway    CloseCode = 1001
	CloseAbnormal     CloseCode = 1006 // never sent: the connection broke
	CloseTooBig       CloseCode = 1009
	CloseInternal     CloseCode = 1011
	CloseRestart      CloseCode = 1012
	CloseBadRequest   CloseCode = 4400
	CloseUnauthorized CloseCode = 4401
	CloseForbidden    CloseCode = 4403
	CloseAuthTimeout  CloseCode = 4408
	CloseDisconnected CloseCode = 4410
	CloseSlowConsumer CloseCode = 4413
	CloseRateLimited  CloseCode = 4429
)

// MessageTimeout is the other reason of CloseAuthTimeout: the client began a message and did not
// complete it.
const MessageTimeout = "message_timeout"

// Label is the code as a label of metrics. Clients choose codes from 3000 to 4999 as they like, so
// these share one label.
func (c CloseCode) Label() string {
	ofWebSocket := c >= 1000 && c < 1015
	if ofWebSocket || c.Reason() != "" {
		return strconv.Itoa(int(c))
	}
	return "other"
}

// Reason is the text of the close frame.
func (c CloseCode) Reason() string {
	switch c {
	case CloseGoingAway:
		return "going_away"
	case CloseTooBig:
		return "message_too_big"
	case CloseInternal:
		return "internal_error"
	case CloseRestart:
		return "restart"
	case CloseBadRequest:
		return "bad_request"
	case CloseUnauthorized:
		return "unauthorized"
	case CloseForbidden:
		return "forbidden"
	case CloseAuthTimeout:
		return "auth_timeout"
	case CloseDisconnected:
		return "disconnected"
	case CloseSlowConsumer:
		return "slow_consumer"
	case CloseRateLimited:
		return "rate_limited"
	case CloseNormal, CloseAbnormal:
	}
	return ""
}
