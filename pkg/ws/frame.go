package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// clientFrame is any frame that a client sends. A member that is absent is nil.
type clientFrame struct {
	Op        string           `json:"op"`
	Token     *string          `json:"token"`
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

// maxNesting is how deep the JSON of a client frame may nest: an object in an array in the frame
// is at level 3.
const maxNesting = 8

// eachFrame parses a message's frames and calls do for each until do returns false. Frames are JSON
// values separated by white space, so a client may send one frame, several lines, or
// pretty-printed JSON. A part that is no JSON, or nests too deep, ends the message.
func eachFrame(message []byte, do func(f clientFrame, refused *refusal) bool) {
	shallow, deep := cutDeepFrame(message)
	if !deep {
		if f, refused := parseFrame(message); refused == nil { // nearly every message is one good frame
			do(f, nil)
			return
		}
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(shallow))
	for n := 0; ; n++ {
		raw, err := dec.ReadValue()
		switch {
		case errors.Is(err, io.EOF) && deep:
			do(clientFrame{}, malformed(fmt.Sprintf("a frame nests at most %d levels deep", maxNesting)))
			return
		case errors.Is(err, io.EOF) && n > 0:
			return
		case err != nil:
			do(parseFrame(nil))
			return
		}
		if !do(parseFrame(raw)) {
			return
		}
	}
}

// cutDeepFrame returns the part of a message that comes before its first frame that nests deeper
// than maxNesting, and whether there is one. The scan only counts brackets, so that no parser
// recurses into a hostile message. It does not validate the message.
func cutDeepFrame(message []byte) (shallow []byte, deep bool) {
	depth := 0
	start := 0 // of the frame
	inString := false
	for i := 0; i < len(message); i++ {
		c := message[i]
		switch {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth == 0 {
				start = i
			}
			depth++
			if depth > maxNesting {
				return message[:start], true
			}
		case c == '}' || c == ']':
			depth = max(0, depth-1)
		}
	}
	return message, false
}

var errNull = errors.New("a value must not be null")

// strict makes the decoder refuse unknown members and null, at any level, so that a typo never
// becomes a silent default such as no filter. Duplicate names and invalid UTF-8 are refused by
// default.
var strict = jsonv2.JoinOptions(
	jsonv2.RejectUnknownMembers(true),
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(dec *jsontext.Decoder, _ any) error {
		if dec.PeekKind() == 'n' {
			return errNull
		}
		return errors.ErrUnsupported // the default does the rest
	})),
)

// parseFrame reads one frame. Unknown members, those of other ops and null are refused. The frame
// is usable as far as its Sub even when it is refused.
func parseFrame(raw []byte) (clientFrame, *refusal) {
	if len(raw) == 0 || raw[0] != '{' {
		return clientFrame{}, malformed("a frame is a JSON object")
	}
	var f clientFrame
	err := jsonv2.Unmarshal(raw, &f, strict)
	if err == nil {
		if !knownOp(f.Op) {
			return f, malformed("op is one of auth, subscribe, unsubscribe, ping")
		}
		return f, f.refuseMisplaced()
	}
	// The frame's op decides how bad the error is, and its sub whom to answer.
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

// refuseMisplaced refuses members that frames of the op do not have. Since null is refused, a
// member that is present is not nil.
func (f *clientFrame) refuseMisplaced() *refusal {
	for _, member := range []struct {
		name    string
		present bool
		ops     []string
	}{
		{"token", f.Token != nil, []string{opAuth}},
		{"sub", f.Sub != nil, []string{opSubscribe, opUnsubscribe}},
		{"accounts", f.Accounts != nil, []string{opSubscribe}},
		{"types", f.Types != nil, []string{opSubscribe}},
		{"reasons", f.Reasons != nil, []string{opSubscribe}},
		{"features", f.Features != nil, []string{opSubscribe}},
		{"minAmount", f.MinAmount != nil, []string{opSubscribe}},
		{"after", f.After != nil, []string{opSubscribe}},
		{"snapshot", f.Snapshot != nil, []string{opSubscribe}},
	} {
		if member.present && !slices.Contains(member.ops, f.Op) {
			return refuse(codeBadRequest, "unknown field /"+member.name)
		}
	}
	return nil
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
