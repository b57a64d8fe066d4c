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

// HistoryUnavailable is the reason of every resync frame.
const HistoryUnavailable = "history_unavailable"

// Frames that every new connection gets, and events, are appended by hand. A balance and an error
// go through the JSON library.

// Quote returns s, which must be valid UTF-8, as a JSON string.
func Quote(s string) []byte {
	quoted, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return []byte(`""`)
	}
	return quoted
}

// WelcomeFrame tells the client that it is authenticated, and until when.
func WelcomeFrame(connection, gateway string, heartbeat time.Duration, expires time.Time) []byte {
	b := make([]byte, 0, 192)
	b = append(b, `{"op":"welcome","connection":"`...)
	b = append(b, connection...) // hex
	b = append(b, `","gateway":`...)
	b = append(b, Quote(gateway)...)
	b = append(b, `,"heartbeatSeconds":`...)
	b = strconv.AppendInt(b, max(1, int64(heartbeat/time.Second)), 10)
	b = append(b, `,"expiresAt":"`...)
	b = expires.UTC().AppendFormat(b, bus.TimeFormat)
	return append(b, `"}`...)
}

// A SubscribedAccount says where an account of a new subscription begins.
type SubscribedAccount struct {
	Account   string
	Seq       int64
	Recovered bool
	Snapshot  *bus.Balance // nil: left out
}

// SubscribedFrame is the first frame of a subscription, whose name is given as JSON.
func SubscribedFrame(quotedSub []byte, accounts []SubscribedAccount) []byte {
	b := make([]byte, 0, 64+len(quotedSub)+96*len(accounts))
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
	b = append(b, a.Account...) // the form of an account needs no quoting
	b = append(b, `","seq":`...)
	b = strconv.AppendInt(b, a.Seq, 10)
	b = append(b, `,"recovered":`...)
	b = strconv.AppendBool(b, a.Recovered)
	if a.Snapshot != nil {
		b = append(b, `,"snapshot":`...)
		b = append(b, mustMarshal(a.Snapshot)...)
	}
	return append(b, '}')
}

// EventFrame is an event of an account, for a subscription whose name is given as JSON. The body is
// the event's JSON, as the account may see it.
func EventFrame(quotedSub []byte, account string, seq int64, body []byte) []byte {
	const (
		head        = `{"op":"event","sub":`
		accountName = `,"account":"`
		seqName     = `","seq":`
		eventName   = `,"event":`
		maxDigits   = 20
	)
	size := len(head) + len(accountName) + len(seqName) + len(eventName) + len(`}`)
	size += len(quotedSub) + len(account) + maxDigits + len(body)
	b := make([]byte, 0, size)
	b = append(b, head...)
	b = append(b, quotedSub...)
	b = append(b, accountName...)
	b = append(b, account...) // the form of an account needs no quoting
	b = append(b, seqName...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, eventName...)
	b = append(b, body...)
	return append(b, '}')
}

// ResyncFrame says that events are missing, and gives the state from which they go on.
func ResyncFrame(quotedSub []byte, b bus.Balance) []byte {
	return mustMarshal(struct {
		Op       string         `json:"op"`
		Sub      jsontext.Value `json:"sub"`
		Account  string         `json:"account"`
		Seq      int64          `json:"seq"`
		Snapshot bus.Balance    `json:"snapshot"`
		Reason   string         `json:"reason"`
	}{"resync", quotedSub, b.Account, b.Seq, b, HistoryUnavailable})
}

// UnsubscribedFrame says that a subscription has ended.
func UnsubscribedFrame(quotedSub []byte) []byte {
	return slices.Concat([]byte(`{"op":"unsubscribed","sub":`), quotedSub, []byte(`}`))
}

// PongFrame answers a ping frame.
var PongFrame = []byte(`{"op":"pong"}`)

// ErrorFrame answers a frame that is refused. The sub is nil when the frame named none.
func ErrorFrame(sub *string, r *Refusal) []byte {
	return mustMarshal(struct {
		Op      string  `json:"op"`
		Sub     *string `json:"sub,omitzero"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
	}{"error", sub, r.Code, r.Message})
}

// ExpiringFrame tells the client when its token ends.
func ExpiringFrame(expires time.Time) []byte {
	return []byte(`{"op":"token_expiring","expiresAt":"` + expires.UTC().Format(bus.TimeFormat) + `"}`)
}

// ReconnectFrame asks the client to come back after that time.
func ReconnectFrame(after time.Duration) []byte {
	return []byte(`{"op":"reconnect","afterMs":` + strconv.FormatInt(after.Milliseconds(), 10) + `,"reason":"drain"}`)
}

// mustMarshal encodes a frame of ours, which cannot fail.
func mustMarshal(frame any) []byte {
	b, err := jsonv2.Marshal(frame)
	if err != nil {
		panic("ws: " + err.Error())
	}
	return b
}
