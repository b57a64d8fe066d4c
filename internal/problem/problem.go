// Package problem writes HTTP errors as problem details (RFC 9457). The member code identifies the
// kind of error for programs.
package problem

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// TypePrefix is the part of a problem's type in front of its code.
const TypePrefix = "urn:redroomrewards:problem:"

// Details is the body of an error answer.
type Details struct {
	Type   string  `json:"type" doc:"The kind of problem: a URN that ends in the code." example:"urn:redroomrewards:problem:insufficient_funds"`
	Title  string  `json:"title" doc:"The kind of problem for people. It is the same for all problems with one code." example:"Insufficient funds"`
	Status int     `json:"status" doc:"The HTTP status." example:"402"`
	Detail string  `json:"detail" doc:"The explanation of this occurrence." example:"user:u1 has 40 points, 100 were requested"`
	Code   string  `json:"code" doc:"The kind of problem for programs." example:"insufficient_funds"`
	Errors []Field `json:"errors,omitempty" nullable:"false" doc:"The malformed fields."`

	// Extra has additional members, such as availableBalance.
	Extra map[string]any `json:"-"`
	// RetryAfter is the value of the Retry-After header, in seconds. 0 omits the header.
	RetryAfter int `json:"-"`
}

// Field is the error of one field.
type Field struct {
	Pointer string `json:"pointer" doc:"JSON pointer into the body. Parameters of path, query and header are named like members of the body: /account, /limit, /idempotencyKey. A pointer of more than 200 bytes is cut and ends with …." example:"/amount"`
	Detail  string `json:"detail" doc:"The rule that the field must follow." example:"an amount must be a whole number from 1 to 9007199254740991"`
}

// maxPointer is the maximum length of a pointer, in bytes. Pointers contain names from the request,
// and the detail repeats them.
const maxPointer = 200

// NewField returns the error of a field. It shortens a long pointer, which then ends with ….
func NewField(pointer, detail string) Field {
	if len(pointer) > maxPointer {
		end := maxPointer
		for end > 0 && !utf8.RuneStart(pointer[end]) {
			end--
		}
		pointer = pointer[:end] + "…"
	}
	return Field{Pointer: pointer, Detail: detail}
}

// New returns the details of a code. If the title is empty, it is the text of the status.
func New(status int, code, title, detail string) *Details {
	if title == "" {
		title = http.StatusText(status)
	}
	return &Details{
		Type:   TypePrefix + code,
		Title:  title,
		Status: status,
		Detail: detail,
		Code:   code,
	}
}

func (d *Details) Error() string { return d.Code + ": " + d.Detail }

// MarshalJSON encodes the members, followed by the extra members in order of name.
func (d *Details) MarshalJSON() ([]byte, error) {
	type plain Details // without this method
	members, err := marshalUnescaped((*plain)(d))
	if err != nil || len(d.Extra) == 0 {
		return members, err
	}
	extra, err := marshalUnescaped(d.Extra)
	if err != nil {
		return nil, err
	}
	members[len(members)-1] = ',' // in place of the closing brace
	return append(members, extra[1:]...), nil
}

// marshalUnescaped encodes v like json.Marshal. It does not escape <, > and &, because a problem is
// not part of HTML.
func marshalUnescaped(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Write answers a request with a problem.
func Write(w http.ResponseWriter, d *Details) {
	body, err := d.MarshalJSON()
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')

	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if d.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(d.RetryAfter))
	}
	w.WriteHeader(d.Status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}
