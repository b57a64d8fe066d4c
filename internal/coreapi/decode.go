package coreapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxBody is the maximum size of a request body, in bytes.
const maxBody = 1 << 20

// maxDrain is the number of bytes that are read from a body that is too large. Without that, a
// client that sends its whole body before it reads would not see the 413.
const maxDrain = 8 << 20

var (
	errBodyTooLarge     = fmt.Errorf("%w: the body must not exceed %d bytes", wallet.ErrTooLarge, maxBody)
	errMetadataTooLarge = fmt.Errorf("%w: metadata must not exceed %d bytes", wallet.ErrTooLarge, wallet.MaxMetadata)
)

// decodeBody decodes the request's body, a JSON object, into dst. dst does not refer to the call's
// buffer.
func (c *call) decodeBody(dst any) error {
	refusal := httpserver.CheckContentType(c.r.Header)
	if refusal != nil {
		return invalidField("", refusal.Detail)
	}

	err := c.receiveLarge(bodySize(c.r))
	if err != nil {
		return err
	}
	body, err := readBody(c.r, c.newBodyFor(bodySize(c.r)))
	*c.buffer = body
	aborted := c.finishReceiving()
	if aborted != nil {
		return aborted
	}
	if err != nil {
		return err
	}
	return unmarshalStrictly(body, dst)
}

// bodySize returns how many bytes of the body of a request can be in memory.
func bodySize(r *http.Request) int {
	switch {
	case r.ContentLength < 0: // unknown
		return maxBody
	case r.ContentLength > maxBody: // it is refused
		return 0
	}
	return int(r.ContentLength)
}

// readBody appends the request's body to buffer.
func readBody(r *http.Request, buffer []byte) ([]byte, error) {
	if r.ContentLength > maxBody {
		drainBody(r)
		return buffer, errBodyTooLarge
	}

	buffer = slices.Grow(buffer, int(max(r.ContentLength, 0))+1) // one more byte, to detect the end
	for {
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, len(buffer))
		}

		n, err := r.Body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case len(buffer) > maxBody:
			drainBody(r)
			return buffer, errBodyTooLarge
		case errors.Is(err, io.EOF):
			return buffer, nil
		case err != nil:
			return buffer, invalidField("", "the body could not be read completely")
		}
	}
}

// drainBody reads the rest of a body that is too large, unless the client waits for 100 Continue.
func drainBody(r *http.Request) {
	if r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
}

// strict refuses unknown members, so that a typing error is not ignored. The decoder refuses
// repeated and differently capitalized members by default.
var strict = jsonv2.RejectUnknownMembers(true)

func unmarshalStrictly(body []byte, dst any) error {
	err := jsonv2.Unmarshal(body, dst, strict)
	if err == nil {
		return nil
	}
	return explainJSON(err, len(body))
}

// explainJSON returns the error for a body that cannot be decoded. Its text describes JSON, not Go
// types.
func explainJSON(err error, size int) error {
	var syntax *jsontext.SyntacticError
	var semantic *jsonv2.SemanticError
	var explained *wallet.InvalidError

	switch {
	case errors.As(err, &explained):
		return explained
	case errors.Is(err, wallet.ErrTooLarge):
		return errMetadataTooLarge
	case size == 0:
		return invalidField("", "the body must be a JSON object; it is empty")
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return invalidField(string(syntax.JSONPointer), "must appear only once")
	case errors.Is(err, jsonv2.ErrUnknownName) && errors.As(err, &semantic):
		return invalidField(string(semantic.JSONPointer), "must be a known field")
	case errors.As(err, &semantic):
		return invalidField(string(semantic.JSONPointer), describeType(semantic.GoType))
	case errors.As(err, &syntax):
		detail := fmt.Sprintf("the body must be valid JSON; it is invalid at byte %d", syntax.ByteOffset)
		return invalidField(string(syntax.JSONPointer), detail)
	}
	return invalidField("", "the body must be valid JSON")
}

// describeType returns the rule for JSON values of a Go type.
func describeType(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "must have the documented type"
	case t.Kind() == reflect.Int64:
		return fmt.Sprintf("must be a whole number from 1 to %d, without a decimal point, an exponent or quotes",
			wallet.MaxAmount)
	case t.Kind() == reflect.String:
		return "must be a string"
	default:
		return "must be a JSON object"
	}
}

// object is a JSON object in the form that the client sent. null is treated as absent.
type object []byte

// UnmarshalJSONFrom accepts any JSON value. The ledger requires an object. A value that is nested
// too deeply for the decoder also has too many bytes.
func (o *object) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	before := dec.InputOffset()
	value, err := readObject(dec)
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && syntax.ByteOffset-before > wallet.MaxMetadata:
		return errMetadataTooLarge
	case err != nil:
		return err
	}

	if value.Kind() != 'n' {
		*o = object(value)
	}
	return nil
}

// readObject returns a copy of the next value. If the ledger refuses it because it nests too deep,
// readObject skips it without recursion and returns only as much of it as the ledger looks at.
func readObject(dec *jsontext.Decoder) (jsontext.Value, error) {
	kind := dec.PeekKind()
	if kind == '{' || kind == '[' {
		rest := dec.UnreadBuffer() // all of the body that follows
		start, _, isDeep := bus.ScanValue(rest, wallet.MaxMetadataNesting)
		if isDeep {
			return skipDeepValue(dec, rest[start:])
		}
	}

	value, err := dec.ReadValue()
	return value.Clone(), err
}

// skipDeepValue skips the next value, which rest begins with. It returns a copy of its first bytes:
// all of them, unless they are more than metadata may have.
func skipDeepValue(dec *jsontext.Decoder, rest []byte) (jsontext.Value, error) {
	first := jsontext.Value(rest[:min(len(rest), wallet.MaxMetadata+1)]).Clone()
	err := dec.SkipValue()
	if err != nil {
		return nil, err
	}

	after := len(dec.UnreadBuffer())
	size := len(rest) - after
	return first[:min(len(first), size)], nil
}

// rawJSON returns the object in the ledger's type.
func (o object) rawJSON() json.RawMessage { return json.RawMessage(o) }

// Schema describes the object in the OpenAPI document.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:                 huma.TypeObject,
		AdditionalProperties: true,
		Examples:             []any{map[string]any{"campaign": "spring"}},
	}
}

// modelAccount returns the account of a model. id is an account or a bare id.
func modelAccount(id string) wallet.Account {
	if id == "" || strings.Contains(id, ":") {
		return wallet.Account(id)
	}
	return wallet.ModelAccount(id)
}

// holdDuration returns the duration of a hold. nil means that the hold does not expire. For a
// number out of range it returns a duration that the ledger refuses. It does so for 0 too, because
// the ledger would not let such a hold expire.
func holdDuration(seconds *int64) time.Duration {
	switch {
	case seconds == nil:
		return 0
	case *seconds < 1 || *seconds > 1<<31:
		return -time.Second
	}
	return time.Duration(*seconds) * time.Second
}
