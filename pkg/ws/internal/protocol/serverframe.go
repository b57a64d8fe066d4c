package protocol

import (
	"slices"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The codes of error frames.
const (
	CodeBadRequest            = "bad_request"
	CodeForbidden             = "forbidden"
	CodeTooManySubscriptions  = "too_many_subscriptions"
	CodeDuplicateSubscription = "duplicate_subscription"
	CodeUnknownSubscription   = "unknown_subscription"
	CodeSnapshotUnavailable   = "snapshot_unavailable"
)

// The reasons of resync frames.
const (
	// HistoryUnavailable says that events are missing. The state that the client had was true.
	HistoryUnavailable = "history_unavailable"
	// HistoryChanged says that the ledger went back: events that the client was shown never
	// happened.
	HistoryChanged = "history_changed"
)

// Event frames and the frames that every new connection gets are appended by hand, for speed. The
// JSON library encodes balances and errors.

// Quote returns s as a JSON string. It returns the empty JSON string when s is not valid UTF-8.
func Quote(s string) []byte {
	quoted, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return []byte(`""`)
	}

	return quoted
}

// WelcomeFrame returns the frame that tells the client that it is authenticated and when its token
// expires.
func WelcomeFrame(connection, gateway string, heartbeat time.Duration, expires time.Time) []byte {
	b := make([]byte, 0, 192)
	b = append(b, `{"op":"welcome","connection":"`...)
	b = append(b, connection...) // hexadecimal digits need no quoting
	b = append(b, `","gateway":`...)
	b = append(b, Quote(gateway)...)
	b = append(b, `,"heartbeatSeconds":`...)
	b = strconv.AppendInt(b, max(1, int64(heartbeat/time.Second)), 10)
	b = append(b, `,"expiresAt":"`...)
	b = expires.UTC().AppendFormat(b, bus.TimeFormat)

	return append(b, `"}`...)
}

// A SubscribedAccount describes where an account of a new subscription begins.
type SubscribedAccount struct {
	Account   string
	Seq       int64
	Chain     bus.Chain
	Recovered bool
	Snapshot  *bus.Balance // nil: the frame has no snapshot
}

// SubscribedFrame returns the first frame of a subscription. quotedSub is the name of the
// subscription as JSON.
func SubscribedFrame(quotedSub []byte, accounts []SubscribedAccount) []byte {
	b := make([]byte, 0, 64+len(quotedSub)+128*len(accounts))
	b = append(b, `{"op":"subscribed","sub":`...)
	b = append(b, quotedSub...)
	b = append(b, `,"accounts":[`...)
	for i := range accounts {
		if i > 0 {
			b = append(b, ',')
		}

		b = accounts[i].appendTo(b)
	}

	return append(b, `]}`...)
}

func (a *SubscribedAccount) appendTo(b []byte) []byte {
	b = append(b, `{"account":"`...)
	b = append(b, a.Account...) // an account never needs quoting
	b = append(b, `","seq":`...)
	b = strconv.AppendInt(b, a.Seq, 10)
	b = appendChain(b, a.Chain)
	b = append(b, `,"recovered":`...)
	b = strconv.AppendBool(b, a.Recovered)
	if a.Snapshot != nil {
		b = append(b, `,"snapshot":`...)
		b = append(b, mustMarshal(a.Snapshot)...)
	}

	return append(b, '}')
}

// appendChain appends the member chain.
func appendChain(b []byte, chain bus.Chain) []byte {
	b = append(b, `,"chain":"`...)
	b = chain.AppendHex(b)

	return append(b, '"')
}

// EventFrame returns the frame for an event of an account. quotedSub is the name of the
// subscription as JSON. body is the JSON of the event as the account may see it.
func EventFrame(
	quotedSub []byte, account string, seq int64, chain bus.Chain, body []byte,
) []byte {
	const (
		head        = `{"op":"event","sub":`
		accountName = `,"account":"`
		seqName     = `","seq":`
		chainMember = `,"chain":"0123456789abcdef"`
		eventName   = `,"event":`
		maxDigits   = 20
	)
	size := len(head) + len(accountName) + len(seqName) + len(chainMember) + len(eventName)
	size += len(quotedSub) + len(account) + maxDigits + len(body) + len(`}`)

	b := make([]byte, 0, size)
	b = append(b, head...)
	b = append(b, quotedSub...)
	b = append(b, accountName...)
	b = append(b, account...) // an account never needs quoting
	b = append(b, seqName...)
	b = strconv.AppendInt(b, seq, 10)
	b = appendChain(b, chain)
	b = append(b, eventName...)
	b = append(b, body...)

	return append(b, '}')
}

// ResyncFrame returns the frame that replaces the client's state by the balance. reason is
// HistoryUnavailable or HistoryChanged.
func ResyncFrame(quotedSub []byte, b bus.Balance, reason string) []byte {
	type resyncFrame struct {
		Op       string         `json:"op"`
		Sub      jsontext.Value `json:"sub"`
		Account  string         `json:"account"`
		Seq      int64          `json:"seq"`
		Chain    bus.Chain      `json:"chain"`
		Snapshot bus.Balance    `json:"snapshot"`
		Reason   string         `json:"reason"`
	}

	return mustMarshal(resyncFrame{
		Op:       "resync",
		Sub:      quotedSub,
		Account:  b.Account,
		Seq:      b.Seq,
		Chain:    b.Chain,
		Snapshot: b,
		Reason:   reason,
	})
}

// UnsubscribedFrame returns the frame that tells the client that a subscription has ended.
func UnsubscribedFrame(quotedSub []byte) []byte {
	return slices.Concat([]byte(`{"op":"unsubscribed","sub":`), quotedSub, []byte(`}`))
}

// PongFrame is the answer to a ping frame.
var PongFrame = []byte(`{"op":"pong"}`)

// ErrorFrame returns the answer to a refused frame. sub is nil when the frame named no
// subscription.
func ErrorFrame(sub *string, r *Refusal) []byte {
	type errorFrame struct {
		Op      string  `json:"op"`
		Sub     *string `json:"sub,omitzero"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
	}

	return mustMarshal(errorFrame{
		Op:      "error",
		Sub:     sub,
		Code:    r.Code,
		Message: r.Message,
	})
}

// ExpiringFrame returns the frame that tells the client when its token expires.
func ExpiringFrame(expires time.Time) []byte {
	expiresAt := expires.UTC().Format(bus.TimeFormat)
	return []byte(`{"op":"token_expiring","expiresAt":"` + expiresAt + `"}`)
}

// ReconnectFrame returns the frame that asks the client to reconnect after the delay.
func ReconnectFrame(delay time.Duration) []byte {
	afterMs := strconv.FormatInt(delay.Milliseconds(), 10)
	return []byte(`{"op":"reconnect","afterMs":` + afterMs + `,"reason":"drain"}`)
}

// mustMarshal encodes a frame. It panics when the frame cannot be encoded, which is a programming
// error.
func mustMarshal(frame any) []byte {
	b, err := jsonv2.Marshal(frame)
	if err != nil {
		panic("ws: " + err.Error())
	}

	return b
}
