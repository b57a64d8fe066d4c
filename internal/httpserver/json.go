package httpserver

import (
	"errors"
	"io"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/redroomrewards/realtime/internal/problem"
)

// maxJSON bounds the body of an admin call, in bytes.
const maxJSON = 64 << 10

// ReadJSON reads a small JSON object into dst. No body at all is taken for {};
// unknown members are refused, so that a typo never becomes a silent default.
func ReadJSON(r *http.Request, dst any) *problem.Details {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	switch {
	case err != nil:
		return Invalid("", "the body could not be read to its end")
	case len(body) > maxJSON:
		return problem.New(http.StatusRequestEntityTooLarge, "request_too_large", "", "the body has more than 64 KiB")
	case len(body) == 0:
		return nil
	}
	err = jsonv2.Unmarshal(body, dst, jsonv2.RejectUnknownMembers(true))
	var semantic *jsonv2.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsonv2.ErrUnknownName) && errors.As(err, &semantic):
		return Invalid(string(semantic.JSONPointer), "there is no such field")
	case errors.As(err, &semantic):
		return Invalid(string(semantic.JSONPointer), "has the wrong type or form")
	}
	return Invalid("", "the body is one JSON object")
}

// Invalid is 400 invalid_request about one field of a body.
func Invalid(pointer, detail string) *problem.Details {
	d := problem.New(http.StatusBadRequest, "invalid_request", "Invalid request", detail)
	d.Errors = []problem.Field{problem.NewField(pointer, detail)}
	return d
}
