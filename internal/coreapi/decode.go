package coreapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxBody bounds a request's body; the contract says 1 MiB.
const maxBody = 1 << 20

// maxDrain is how much of a body that is too large is still read, so that a
// client which sends before it listens gets to see the 413.
const maxDrain = 8 << 20

var errBodyTooLarge = fmt.Errorf("%w: the body has more than %d bytes", wallet.ErrTooLarge, maxBody)

// bodies lends buffers; what grew large is not kept.
type bodies struct{ pool sync.Pool }

const keptBody = 16 << 10

func (b *bodies) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	buf := make([]byte, 0, 1024)
	return &buf
}

func (b *bodies) put(p *[]byte) {
	if cap(*p) <= keptBody {
		*p = (*p)[:0]
		b.pool.Put(p)
	}
}

// decode reads the request's body, a JSON object, into dst. Nothing of dst
// refers to the buffer afterwards.
func (b *bodies) decode(r *http.Request, dst any) error {
	if refused := httpserver.CheckContentType(r.Header); refused != nil {
		return malformed("", refused.Detail)
	}
	p := b.get()
	defer b.put(p)
	if err := readBody(r, p); err != nil {
		return err
	}
	return strict(*p, dst)
}

// strict reads JSON as it was meant or says what is wrong with it.
func strict(body []byte, dst any) error {
	if err := json.Unmarshal(body, dst, json.RejectUnknownMembers(true)); err != nil {
		return explainJSON(err, len(body))
	}
	return nil
}

func readBody(r *http.Request, p *[]byte) error {
	if r.ContentLength > maxBody {
		drain(r)
		return errBodyTooLarge
	}
	buf := slices.Grow(*p, int(max(r.ContentLength, 0))+1) // one more, to see the end
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		*p = buf
		switch {
		case len(buf) > maxBody:
			drain(r)
			return errBodyTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return malformed("", "the body could not be read to its end")
		}
	}
}

func drain(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
	}
}

func malformed(pointer, detail string) error {
	return &wallet.InvalidError{Fields: []wallet.FieldError{{Pointer: pointer, Detail: detail}}}
}

// explainJSON says what is wrong with a body in the words of someone who writes
// JSON, not Go.
func explainJSON(err error, size int) error {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	var said *wallet.InvalidError
	switch {
	case errors.As(err, &said):
		return said
	case errors.Is(err, wallet.ErrTooLarge):
		return errMetadataTooLarge
	case size == 0:
		return malformed("", "the body is empty; a JSON object is expected")
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return malformed(string(syntax.JSONPointer), "the field appears twice")
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return malformed(string(semantic.JSONPointer), "there is no such field")
	case errors.As(err, &semantic):
		return malformed(string(semantic.JSONPointer), wanted(semantic.GoType))
	case errors.As(err, &syntax):
		return malformed(string(syntax.JSONPointer), fmt.Sprintf("no valid JSON at byte %d", syntax.ByteOffset))
	}
	return malformed("", "no valid JSON")
}

func wanted(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "has the wrong type"
	case t.Kind() == reflect.Int64:
		return fmt.Sprintf("is a whole number from 1 to %d, written without point, exponent or quotes", wallet.MaxAmount)
	case t.Kind() == reflect.String:
		return "is a string"
	default:
		return "is a JSON object"
	}
}
