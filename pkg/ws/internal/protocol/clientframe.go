package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The ops of client frames.
const (
	OpAuth        = "auth"
	OpSubscribe   = "subscribe"
	OpUnsubscribe = "unsubscribe"
	OpPing        = "ping"
)

// MaxAmount is the largest amount and the largest seq. It is the largest integer that JavaScript
// can represent exactly.
const MaxAmount = 1<<53 - 1

// A ClientFrame is any frame that a client sends. An absent member is nil.
type ClientFrame struct {
	Op        string               `json:"op"`
	Token     *string              `json:"token"`
	Sub       *string              `json:"sub"`
	Accounts  []string             `json:"accounts"`
	Types     []string             `json:"types"`
	Reasons   []string             `json:"reasons"`
	Features  []string             `json:"features"`
	MinAmount *int64               `json:"minAmount"`
	After     map[string]int64     `json:"after"`
	Chain     map[string]bus.Chain `json:"chain"`
	Snapshot  *bool                `json:"snapshot"`
}

// A Refusal says why a frame is refused.
type Refusal struct {
	Code      string // the code of the error frame
	Message   string // the message of the error frame, for people
	Malformed bool   // the frame is not JSON, or its op is unknown; counts towards close code 4400
}

// Refuse returns the refusal of a well-formed frame.
func Refuse(code, message string) *Refusal {
	return &Refusal{Code: code, Message: message}
}

// Malformed returns the refusal of a frame that is not a JSON object of the protocol.
func Malformed(message string) *Refusal {
	return &Refusal{
		Code:      CodeBadRequest,
		Message:   message,
		Malformed: true,
	}
}

const (
	opMessage     = "op must be one of auth, subscribe, unsubscribe, ping"
	objectMessage = "a frame must be a JSON object"
)

// MaxNesting is the maximum nesting depth of the JSON in a client frame. An object in an array in
// the frame is at level 3.
const MaxNesting = 8

// ForEachFrame parses the frames of a message and calls handle for each frame until handle returns
// false. A refused frame is passed with its refusal.
//
// Frames are JSON values separated by white space. A client can therefore send one frame, several
// lines, or indented JSON. The rest of a message is ignored after a frame that is not JSON or that
// nests too deep.
func ForEachFrame(message []byte, handle func(f ClientFrame, refused *Refusal) bool) {
	shallow, hasDeepFrame := cutDeepFrame(message)
	if !hasDeepFrame {
		// Nearly every message is one valid frame.
		f, refused := parseFrame(message)
		if refused == nil {
			handle(f, nil)
			return
		}
	}

	dec := jsontext.NewDecoder(bytes.NewBuffer(shallow))
	for n := 0; ; n++ {
		raw, err := dec.ReadValue()
		switch {
		case errors.Is(err, io.EOF) && hasDeepFrame:
			tooDeep := fmt.Sprintf("a frame must nest at most %d levels deep", MaxNesting)
			handle(ClientFrame{}, Malformed(tooDeep))
			return
		case errors.Is(err, io.EOF) && n > 0:
			return
		case err != nil:
			handle(parseFrame(nil))
			return
		}
		if !handle(parseFrame(raw)) {
			return
		}
	}
}

// cutDeepFrame returns the part of a message that precedes its first frame that nests deeper than
// MaxNesting, and reports whether there is such a frame. No parser sees that frame, because parsers
// recurse or allocate for each level.
func cutDeepFrame(message []byte) (shallow []byte, hasDeepFrame bool) {
	start := bus.FindDeeper(message, MaxNesting)
	if start < 0 {
		return message, false
	}

	return message[:start], true
}

var errNull = errors.New("a value must not be null")

// strictOptions make the decoder refuse unknown members and null at any level. A misspelled filter
// is therefore an error and never a subscription without a filter. The decoder refuses duplicate
// names and invalid UTF-8 by default.
var strictOptions = jsonv2.JoinOptions(
	jsonv2.RejectUnknownMembers(true),
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(refuseNull)),
)

func refuseNull(dec *jsontext.Decoder, _ any) error {
	if dec.PeekKind() == 'n' {
		return errNull
	}

	return errors.ErrUnsupported // the decoder goes on with its default
}

// parseFrame parses one frame. It refuses unknown members, members of other ops and null. A refused
// frame still has its Op and Sub, if they could be read.
func parseFrame(raw []byte) (ClientFrame, *Refusal) {
	if len(raw) == 0 || raw[0] != '{' {
		return ClientFrame{}, Malformed(objectMessage)
	}

	var f ClientFrame
	err := jsonv2.Unmarshal(raw, &f, strictOptions)
	if err != nil {
		return parseInvalidFrame(raw, err)
	}

	if !IsKnownOp(f.Op) {
		return f, Malformed(opMessage)
	}

	refused := f.refuseMisplaced()
	return f, refused
}

// parseInvalidFrame reads the op and the sub of a frame that cannot be decoded; decodeErr says why.
// The op decides whether the frame is malformed, and the error frame names the sub.
func parseInvalidFrame(raw []byte, decodeErr error) (ClientFrame, *Refusal) {
	var members struct {
		Op  any `json:"op"`
		Sub any `json:"sub"`
	}

	err := jsonv2.Unmarshal(raw, &members)
	if err != nil {
		return ClientFrame{}, Malformed(objectMessage + " without duplicate names")
	}

	op, _ := members.Op.(string)
	f := ClientFrame{Op: op}
	sub, isString := members.Sub.(string)
	if isString {
		f.Sub = &sub
	}

	if !IsKnownOp(op) {
		return f, Malformed(opMessage)
	}

	return f, Refuse(CodeBadRequest, describeDecodeError(decodeErr))
}

// refuseMisplaced refuses members that frames of the op do not have. A member that is present is
// not nil, because null is refused.
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
		{"chain", f.Chain != nil, []string{OpSubscribe}},
		{"snapshot", f.Snapshot != nil, []string{OpSubscribe}},
	} {
		if member.present && !slices.Contains(member.ops, f.Op) {
			return Refuse(CodeBadRequest, "unknown field /"+member.name)
		}
	}

	return nil
}

// IsKnownOp reports whether op is an op of client frames.
func IsKnownOp(op string) bool {
	switch op {
	case OpAuth, OpSubscribe, OpUnsubscribe, OpPing:
		return true
	}

	return false
}

// describeDecodeError returns the message for a frame with an invalid field. It quotes nothing that
// the client sent except the JSON pointer to the field.
func describeDecodeError(err error) string {
	pointer := ""
	var semantic *jsonv2.SemanticError
	if errors.As(err, &semantic) {
		pointer = Truncate(string(semantic.JSONPointer), maxPointer)
	}

	switch {
	case errors.Is(err, jsonv2.ErrUnknownName):
		return "unknown field " + pointer
	case pointer != "":
		return "the value at " + pointer + " must have the documented type and range"
	}

	return "each field must have its documented type"
}

// maxPointer is the maximum length of a JSON pointer in an error message, in bytes.
const maxPointer = 64

// Truncate shortens s to at most n bytes. It does not cut a UTF-8 sequence.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}

	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}

	return s[:n]
}
