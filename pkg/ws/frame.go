package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Subprotocol is the name of the protocol in the WebSocket handshake.
const Subprotocol = "wallet.v1"

// Ops of client frames.
const (
	opAuth        = "auth"
	opSubscribe   = "subscribe"
	opUnsubscribe = "unsubscribe"
	opPing        = "ping"
)

// Codes of error frames.
const (
	codeBadRequest           = "bad_request"
	codeForbidden            = "forbidden"
	codeTooManySubscriptions = "too_many_subscriptions"
	codeDuplicate            = "duplicate_subscription"
	codeUnknownSubscription  = "unknown_subscription"
	codeSnapshotUnavailable  = "snapshot_unavailable"
)

// reasonHistory is the reason of every resync frame.
const reasonHistory = "history_unavailable"

// clientFrame is any frame that a client sends.
type clientFrame struct {
	Op        string           `json:"op"`
	Token     string           `json:"token"`
	Sub       *string          `json:"sub"`
	Accounts  []string         `json:"accounts"`
	Types     []string         `json:"types"`
	Reasons   []string         `json:"reasons"`
	Features  []string         `json:"features"`
	MinAmount *int64           `json:"minAmount"`
	After     map[string]int64 `json:"after"`
	Snapshot  *bool            `json:"snapshot"`
}

// refusal answers a frame that cannot be done.
type refusal struct {
	code, message string
	malformed     bool // no JSON, or an unknown op: a few of these close the connection
}

func refuse(code, message string) *refusal { return &refusal{code: code, message: message} }

func malformed(message string) *refusal {
	return &refusal{code: codeBadRequest, message: message, malformed: true}
}

// frames splits a message into its frames and calls do for each until do is
// false. Frames are JSON values separated by white space, so a client may send one
// frame, several lines, or pretty-printed JSON. What is no JSON is passed as nil
// and ends the message.
func frames(message []byte, do func(raw []byte) bool) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(message))
	for n := 0; ; n++ {
		raw, err := dec.ReadValue()
		if errors.Is(err, io.EOF) && n > 0 {
			return
		}
		if err != nil {
			do(nil)
			return
		}
		if !do(raw) {
			return
		}
	}
}

// parseFrame reads one frame. Unknown members, those of other ops and null are
// refused, so that a typo never becomes a silent default such as no filter. The frame
// is usable as far as its Sub even when it is refused.
func parseFrame(raw []byte) (clientFrame, *refusal) {
	if len(raw) == 0 || raw[0] != '{' {
		return clientFrame{}, malformed("a frame is a JSON object")
	}
	var f clientFrame
	err := jsonv2.Unmarshal(raw, &f, jsonv2.RejectUnknownMembers(true))
	if err == nil {
		if !knownOp(f.Op) {
			return f, malformed("op is one of auth, subscribe, unsubscribe, ping")
		}
		return f, misplaced(raw, f.Op)
	}
	// What it wanted to be decides how bad it is, and whom to answer.
	var about struct {
		Op  any `json:"op"`
		Sub any `json:"sub"`
	}
	if jsonv2.Unmarshal(raw, &about) != nil {
		return clientFrame{}, malformed("a frame is a JSON object without duplicate names")
	}
	op, _ := about.Op.(string)
	f = clientFrame{Op: op}
	if sub, ok := about.Sub.(string); ok {
		f.Sub = &sub
	}
	if !knownOp(op) {
		return f, malformed("op is one of auth, subscribe, unsubscribe, ping")
	}
	return f, refuse(codeBadRequest, describe(err))
}

// misplaced refuses what would be taken for a member that is absent, or for nothing at all: null,
// wherever it stands, and members of other ops.
func misplaced(raw []byte, op string) *refusal {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	for {
		t, err := dec.ReadToken()
		if err != nil {
			return nil // the end: what cannot be read was refused before
		}
		_, n := dec.StackIndex(dec.StackDepth())
		switch isName := dec.StackDepth() == 1 && n%2 == 1; {
		case t.Kind() == 'n':
			return refuse(codeBadRequest, "wrong type or value at "+place(dec.StackPointer()))
		case isName && memberOf(t.String())&membersOf(op) == 0:
			return refuse(codeBadRequest, "unknown field "+place(dec.StackPointer()))
		}
	}
}

func knownOp(op string) bool {
	return op == opAuth || op == opSubscribe || op == opUnsubscribe || op == opPing
}

// describe says what is wrong with a frame's fields without quoting what the
// client sent, except for the place.
func describe(err error) string {
	where := ""
	var semantic *jsonv2.SemanticError
	if errors.As(err, &semantic) {
		where = place(semantic.JSONPointer)
	}
	switch {
	case errors.Is(err, jsonv2.ErrUnknownName):
		return "unknown field " + where
	case where != "":
		return "wrong type or value at " + where
	}
	return "the frame's fields have wrong types"
}

// place is as much of a pointer as is worth telling.
func place(p jsontext.Pointer) string {
	const longest = 64
	return clip(string(p), longest)
}

// quote is s as a JSON string.
func quote(s string) []byte {
	q, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return []byte(`""`) // invalid UTF-8; names are checked before
	}
	return q
}

func timestamp(t time.Time) string { return t.UTC().Format(bus.TimeFormat) }

// welcomeFrame and subscribedFrame are what each new connection gets: they are written
// without reflection.
func welcomeFrame(connection, gateway string, heartbeat time.Duration, expires time.Time) []byte {
	b := make([]byte, 0, 192)
	b = append(append(b, `{"op":"welcome","connection":"`...), connection...)
	b = append(append(b, `","gateway":`...), quote(gateway)...)
	b = strconv.AppendInt(append(b, `,"heartbeatSeconds":`...), max(1, int64(heartbeat/time.Second)), 10)
	b = expires.UTC().AppendFormat(append(b, `,"expiresAt":"`...), bus.TimeFormat)
	return append(b, `"}`...)
}

// opened is one account of a subscribed frame.
type opened struct {
	Account   string
	Seq       int64
	Recovered bool
	Snapshot  *bus.Balance // nil: left out
}

func subscribedFrame(sub []byte, accounts []opened) []byte {
	b := make([]byte, 0, 64+len(sub)+96*len(accounts))
	b = append(append(append(b, `{"op":"subscribed","sub":`...), sub...), `,"accounts":[`...)
	for i := range accounts {
		a := &accounts[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"account":"`...), a.Account...) // the form of an account needs no quoting
		b = strconv.AppendInt(append(b, `","seq":`...), a.Seq, 10)
		b = strconv.AppendBool(append(b, `,"recovered":`...), a.Recovered)
		if a.Snapshot != nil {
			b = append(append(b, `,"snapshot":`...), mustJSON(a.Snapshot)...)
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

func resyncFrame(sub []byte, b bus.Balance) []byte {
	return mustJSON(struct {
		Op       string          `json:"op"`
		Sub      json.RawMessage `json:"sub"`
		Account  string          `json:"account"`
		Seq      int64           `json:"seq"`
		Snapshot bus.Balance     `json:"snapshot"`
		Reason   string          `json:"reason"`
	}{"resync", sub, b.Account, b.Seq, b, reasonHistory})
}

func unsubscribedFrame(sub []byte) []byte {
	return slices.Concat([]byte(`{"op":"unsubscribed","sub":`), sub, []byte(`}`))
}

var pongFrame = []byte(`{"op":"pong"}`)

func errorFrame(sub *string, r *refusal) []byte {
	return mustJSON(struct {
		Op      string  `json:"op"`
		Sub     *string `json:"sub,omitempty"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
	}{"error", sub, r.code, r.message})
}

func expiringFrame(expires time.Time) []byte {
	return []byte(`{"op":"token_expiring","expiresAt":"` + timestamp(expires) + `"}`)
}

func reconnectFrame(after time.Duration) []byte {
	return []byte(`{"op":"reconnect","afterMs":` + strconv.FormatInt(after.Milliseconds(), 10) + `,"reason":"drain"}`)
}

// mustJSON encodes frames of ours, which cannot fail: strings, numbers, balances.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("ws: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
