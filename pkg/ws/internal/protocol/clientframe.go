package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The ops of client frames.
const (
	OpAuth        = "auth"
	OpSubscribe   = "subscribe"
	OpUnsubscribe = "unsubscribe"
	OpPing        = "ping"
)

// MaxAmount is the largest amount and the largest seq. A float64 holds it exactly, so JavaScript
// does.
const MaxAmount = 1<<53 - 1

// A ClientFrame is any frame that a client sends. A member that is absent is nil.
type ClientFrame struct {
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

// A Refusal says why a frame is not done.
type Refusal struct {
	Code      string // of the error frame
	Message   string // for people
	Malformed bool   // no JSON, or an unknown op: a few of these close the connection
}

// Refuse refuses a frame that is well-formed.
func Refuse(code, message string) *Refusal { return &Refusal{Code: code, Message: message} }

// Malformed refuses a frame that is no JSON object of the protocol.
func Malformed(message string) *Refusal {
	return &Refusal{Code: CodeBadRequest, Message: message, Malformed: true}
}

// MaxNesting is how deep the JSON of a client frame may nest: an object in an array in the frame
// is at level 3.
const MaxNesting = 8

// EachFrame parses a message's frames and calls do for each until do returns false. Frames are JSON
// values separated by white space, so a client may send one frame, several lines, or
// pretty-printed JSON. A part that is no JSON, or nests too deep, ends the message.
func EachFrame(message []byte, do func(f ClientFrame, refused *Refusal) bool) {
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
			do(ClientFrame{}, Malformed(fmt.Sprintf("a frame nests at most %d levels deep", MaxNesting)))
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
// than MaxNesting, and whether there is one. The scan only counts brackets, so that no parser
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
			if depth > MaxNesting {
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
func parseFrame(raw []byte) (ClientFrame, *Refusal) {
	if len(raw) == 0 || raw[0] != '{' {
		return ClientFrame{}, Malformed("a frame is a JSON object")
	}
	var f ClientFrame
	err := jsonv2.Unmarshal(raw, &f, strict)
	if err == nil {
		if !KnownOp(f.Op) {
			return f, Malformed("op is one of auth, subscribe, unsubscribe, ping")
		}
		err := f.refuseMisplaced()
		return f, err
	}
	// The frame's op decides how bad the error is, and its sub whom to answer.
	var about struct {
		Op  any `json:"op"`
		Sub any `json:"sub"`
	}
	if jsonv2.Unmarshal(raw, &about) != nil {
		return ClientFrame{}, Malformed("a frame is a JSON object without duplicate names")
	}
	op, _ := about.Op.(string)
	f = ClientFrame{Op: op}
	if sub, ok := about.Sub.(string); ok {
		f.Sub = &sub
	}
	if !KnownOp(op) {
		return f, Malformed("op is one of auth, subscribe, unsubscribe, ping")
	}
	return f, Refuse(CodeBadRequest, describe(err))
}

// refuseMisplaced refuses members that frames of the op do not have. Since null is refused, a
// member that is present is not nil.
func (f *ClientFrame) refuseMisplaced() *Refusal {
	for _, member := range []struct {
		name    string
		present bool
		ops     []string
	}{
		{"token", f.Token != nil, []string{OpAuth}},
		{"sub", f.Sub != nil, []string{OpSubscribe, OpUnsubscribe}},
		{"accounts", f.Accounts != nil, []string{OpSubscribe}},
		{"types", f.Types != nil, []string{OpSubscribe}},
		{"reasons", f.Reasons != nil, []string{OpSubscribe}},
		{"features", f.Features != nil, []string{OpSubscribe}},
		{"minAmount", f.MinAmount != nil, []string{OpSubscribe}},
		{"after", f.After != nil, []string{OpSubscribe}},
		{"snapshot", f.Snapshot != nil, []string{OpSubscribe}},
	} {
		if member.present && !slices.Contains(member.ops, f.Op) {
			return Refuse(CodeBadRequest, "unknown field /"+member.name)
		}
	}
	return nil
}

// KnownOp reports whether client frames have this op.
func KnownOp(op string) bool {
	return op == OpAuth || op == OpSubscribe || op == OpUnsubscribe || op == OpPing
}

// describe says what is wrong with a frame's fields. It quotes nothing that the client sent, except
// for the place.
func describe(err error) string {
	where := ""
	var semantic *jsonv2.SemanticError
	if errors.As(err, &semantic) {
		where = Clip(string(semantic.JSONPointer), maxPlace)
	}
	switch {
	case errors.Is(err, jsonv2.ErrUnknownName):
		return "unknown field " + where
	case where != "":
		return "wrong type or value at " + where
	}
	return "the frame's fields have wrong types"
}

// maxPlace is the longest place in an error message, in bytes.
const maxPlace = 64

// Clip cuts s to at most n bytes and keeps it valid UTF-8.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
