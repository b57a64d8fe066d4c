package ws

import "strconv"

// closeCode is a WebSocket close code of the protocol.
type closeCode int

const (
	closeNormal       closeCode = 1000
	closeGoingAway    closeCode = 1001
	closeAbnormal     closeCode = 1006 // never sent: the connection broke
	closeTooBig       closeCode = 1009
	closeInternal     closeCode = 1011
	closeRestart      closeCode = 1012
	closeBadRequest   closeCode = 4400
	closeUnauthorized closeCode = 4401
	closeForbidden    closeCode = 4403
	closeAuthTimeout  closeCode = 4408
	closeDisconnected closeCode = 4410
	closeSlowConsumer closeCode = 4413
	closeRateLimited  closeCode = 4429
)

// lateMessage is the other reason of closeAuthTimeout: the client began a message and did not end it.
const lateMessage = "message_timeout"

// label is what metrics call it. The clients' own codes, 3000 to 4999, are theirs to choose.
func (c closeCode) label() string {
	if (c >= 1000 && c < 1015) || c.word() != "" { // those of the WebSocket protocol, and ours
		return strconv.Itoa(int(c))
	}
	return "other"
}

// word is the reason that goes into the close frame.
func (c closeCode) word() string {
	switch c {
	case closeGoingAway:
		return "going_away"
	case closeTooBig:
		return "message_too_big"
	case closeInternal:
		return "internal_error"
	case closeRestart:
		return "restart"
	case closeBadRequest:
		return "bad_request"
	case closeUnauthorized:
		return "unauthorized"
	case closeForbidden:
		return "forbidden"
	case closeAuthTimeout:
		return "auth_timeout"
	case closeDisconnected:
		return "disconnected"
	case closeSlowConsumer:
		return "slow_consumer"
	case closeRateLimited:
		return "rate_limited"
	case closeNormal, closeAbnormal:
	}
	return ""
}
