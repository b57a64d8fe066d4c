package httpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/redroomrewards/realtime/internal/problem"
)

// maxJSON is the maximum size of the body of an admin call, in bytes.
const maxJSON = 64 << 10

// ReadJSON decodes a small JSON object into dst. An empty body is treated like {}. Unknown members
// are refused, so that a typing error is not ignored.
func ReadJSON(r *http.Request, dst any) *problem.Details {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	switch {
	case err != nil:
		return Invalid("", "the body could not be read completely")
	case len(body) > maxJSON:
		return problem.New(http.StatusRequestEntityTooLarge, "request_too_large", "", "the body must not exceed 64 KiB")
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}

	err = jsonv2.Unmarshal(body, dst, jsonv2.RejectUnknownMembers(true))
	var semantic *jsonv2.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsonv2.ErrUnknownName) && errors.As(err, &semantic):
		return Invalid(string(semantic.JSONPointer), "must be a known field")
	case errors.As(err, &semantic):
		return Invalid(string(semantic.JSONPointer), "must have the documented type")
	}
	return Invalid("", "the body must be one JSON object")
}

// CheckContentType requires that the headers describe a body of JSON in UTF-8, without a content
// coding. The Content-Type may be absent.
func CheckContentType(h http.Header) *problem.Details {
	for _, coding := range h["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return Invalid("", "the body must not have a Content-Encoding")
		}
	}

	types := h["Content-Type"]
	if len(types) > 1 {
		return Invalid("", "the Content-Type header must be given only once")
	}
	if len(types) == 0 || types[0] == "" || types[0] == "application/json" {
		return nil
	}

	mediaType, params, err := mime.ParseMediaType(types[0])
	charset := params["charset"]
	isUTF8 := charset == "" || strings.EqualFold(charset, "utf-8")
	if err != nil || mediaType != "application/json" || !isUTF8 {
		return Invalid("", "the body must be JSON in UTF-8, with Content-Type: application/json or none")
	}
	return nil
}

// WriteJSON answers with the JSON of v. It does not escape <, > and &, because the answer is not
// part of HTML.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	if err != nil {
		problem.Write(w, problem.New(http.StatusInternalServerError, "internal", "",
			"an internal error occurred; the answer could not be encoded"))
		return
	}
	WriteBody(w, status, body.Bytes())
}

// Values of headers, shared by all answers.
var (
	valueJSON    = []string{"application/json"}
	valueNoStore = []string{"no-store"}
	valueNoSniff = []string{"nosniff"}
)

// WriteBody answers with a JSON body.
func WriteBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = valueJSON
	h["Cache-Control"] = valueNoStore
	h["X-Content-Type-Options"] = valueNoSniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}

	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

// Invalid returns a problem with the status 400 and the code invalid_request, for one field.
func Invalid(pointer, detail string) *problem.Details {
	d := problem.New(http.StatusBadRequest, "invalid_request", "Invalid request", detail)
	d.Errors = []problem.Field{problem.NewField(pointer, detail)}
	return d
}
