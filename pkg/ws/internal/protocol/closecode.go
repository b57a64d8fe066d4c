package protocol

import "strconv"

// A CloseCode is a WebSocket close code of the protocol.
type CloseCode int

// The codes that the gateway closes with.
const (
	CloseNormal       CloseCode = 1000
	CloseGoingAway    CloseCode = 1001
	CloseProtocol     CloseCode = 1002 // its text names the violation
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

// MessageTimeout is the second reason of CloseAuthTimeout: the client began a message and did not
// complete it in time.
const MessageTimeout = "message_timeout"

// Label returns the code as a metric label. Clients can choose any code from 3000 to 4999, so the
// codes that the protocol does not define share one label.
func (c CloseCode) Label() string {
	isWebSocketCode := c >= 1000 && c < 1015
	if isWebSocketCode || c.Reason() != "" {
		return strconv.Itoa(int(c))
	}

	return "other"
}

// Reason returns the text of the close frame.
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
	case CloseNormal, CloseProtocol, CloseAbnormal:
	}

	return ""
}
