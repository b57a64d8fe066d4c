package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const problemType = "application/problem+json"

// checkHead compares the status and the header of an answer with the document. It returns the
// described answer, or nil if the document has no such call.
func (d *Document) checkHead(r *http.Response) (*operation, *answer, error) {
	op := d.findOperation(r.Request)
	if op == nil {
		return nil, nil, d.checkUnknownCall(r)
	}
	a := op.answers[strconv.Itoa(r.StatusCode)]
	if a == nil {
		return op, nil, fmt.Errorf("%s must describe the status %d", op.id, r.StatusCode)
	}

	err := a.checkHeader(r.Header)
	contentType := mediaType(r.Header)
	if len(a.content) > 0 && a.content[contentType] == nil {
		err = errors.Join(err, fmt.Errorf("the answer must describe the content type %q", contentType))
	}
	if r.StatusCode < http.StatusMultipleChoices {
		err = errors.Join(err, op.checkParameters(r.Request))
	}
	if len(a.codes) == 0 {
		d.markSeen(op.id + " " + strconv.Itoa(r.StatusCode))
	}
	return op, a, err
}

// findOperation returns nil if the document does not describe the request's call.
func (d *Document) findOperation(r *http.Request) *operation {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, op := range d.operations {
		if op.method == method && op.pathValues(r.URL) != nil {
			return op
		}
	}
	return nil
}

// pathValues returns the parameters in the path, or nil if the path is not that of the operation.
func (op *operation) pathValues(u *url.URL) map[string]string {
	segments := strings.Split(u.EscapedPath(), "/")
	if len(segments) != len(op.segments) {
		return nil
	}
	values := map[string]string{}
	for i, want := range op.segments {
		got, err := url.PathUnescape(segments[i])
		name, isParameter := strings.CutPrefix(want, "{")
		switch {
		case err != nil, !isParameter && got != want:
			return nil
		case isParameter:
			values[strings.TrimSuffix(name, "}")] = got
		}
	}
	return values
}

// checkUnknownCall checks the answer to a call that the document does not describe.
func (d *Document) checkUnknownCall(r *http.Response) error {
	asksForPage := r.Request.Method == http.MethodOptions && r.Request.Header.Get("Access-Control-Request-Method") != ""
	isPreflight := asksForPage && (r.StatusCode == http.StatusNoContent || r.StatusCode == http.StatusForbidden)
	isRefused := r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusMethodNotAllowed
	isRedirect := r.StatusCode == http.StatusTemporaryRedirect // of a path with empty segments
	if isPreflight || isRefused || isRedirect {
		return nil
	}
	return errors.New("the document must describe the call")
}

// ordinaryHeaders need no description.
var ordinaryHeaders = []string{
	"Cache-Control", "Connection", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Security-Policy", "Content-Type",
	"Date", "Sec-Websocket-Accept", "Transfer-Encoding", "Upgrade", "Vary", "X-Accel-Buffering", "X-Content-Type-Options",
}

func (a *answer) checkHeader(h http.Header) error {
	var errs []error
	for name := range h {
		isOrdinary := slices.Contains(ordinaryHeaders, name) || strings.HasPrefix(name, "Access-Control-")
		described, ok := a.headers[name]
		switch {
		case ok:
			errs = append(errs, described.check("the header "+name, h.Get(name)))
		case !isOrdinary:
			errs = append(errs, fmt.Errorf("the answer must describe the header %s", name))
		}
	}
	for name, described := range a.headers {
		if described.required && h.Get(name) == "" {
			errs = append(errs, fmt.Errorf("the answer must have the header %s", name))
		}
	}
	return errors.Join(errs...)
}

// check validates the text of a parameter or a header.
func (p *parameter) check(what, text string) error {
	var value any = text
	switch p.kind {
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err == nil {
			value = n
		}
	case "boolean":
		b, err := strconv.ParseBool(text)
		if err == nil {
			value = b
		}
	case "array":
		value = []any{text}
	}
	return describe(what, p.schema.Validate(value))
}

// checkParameters checks the parameters of a request that the server accepted.
func (op *operation) checkParameters(r *http.Request) error {
	query := r.URL.Query()
	path := op.pathValues(r.URL)
	var errs []error
	known := map[string]bool{}
	for _, p := range op.parameters {
		value := path[p.name]
		isGiven := true
		switch p.in {
		case "query":
			known[p.name] = true
			value = query.Get(p.name)
			isGiven = value != ""
		case "header":
			value = r.Header.Get(p.name)
			isGiven = value != ""
		}
		switch {
		case isGiven:
			errs = append(errs, p.check("the parameter "+p.name, value))
		case p.required:
			errs = append(errs, fmt.Errorf("the server must not accept a request without %s", p.name))
		}
	}
	for name := range query {
		if !known[name] && !slices.Contains(op.tokens, name) {
			errs = append(errs, fmt.Errorf("the call must describe the parameter %s", name))
		}
	}
	return errors.Join(errs...)
}

// checkBody validates the body of an answer, and the body of the request if the server accepted it.
func (d *Document) checkBody(op *operation, a *answer, r *http.Response, body []byte) error {
	if r.Request.Method == http.MethodHead {
		return nil
	}
	contentType := mediaType(r.Header)
	schema := a.content[contentType]
	if schema == nil {
		if len(body) > 0 && len(a.content) == 0 {
			return fmt.Errorf("the answer must describe its body: %.200s", body)
		}
		return nil // checkHead has reported it
	}
	if !isJSON(contentType) {
		return nil
	}

	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body must be JSON: %w: %.200s", err, body)
	}
	code, isProblem := object(value)["code"].(string)
	if isProblem && len(a.codes) > 0 {
		d.markSeen(op.id + " " + strconv.Itoa(r.StatusCode) + " " + code)
	}
	err = describe("the body", schema.Validate(value))
	if r.StatusCode < http.StatusMultipleChoices {
		err = errors.Join(err, op.checkRequestBody(r.Request, value))
	}
	return err
}

// mediaType returns the content type without its parameters.
func mediaType(h http.Header) string {
	name, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return name
}

func isJSON(contentType string) bool {
	return contentType == "application/json" || contentType == problemType
}

// checkRequestBody validates the body of a request that the server accepted. It needs the request's
// GetBody.
func (op *operation) checkRequestBody(r *http.Request, answer any) error {
	if r.GetBody == nil || r.ContentLength <= 0 {
		return nil
	}
	reader, err := r.GetBody()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	body, err := io.ReadAll(reader)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if op.body == nil {
		return fmt.Errorf("%s must describe the body of the request: %.200s", op.id, body)
	}

	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the server accepted a body that is not JSON: %.200s", body)
	}
	removeNulls(value)
	hasAccepted := removeRefused(value, answer)
	if !hasAccepted {
		return nil
	}
	return describe("the server accepted a request whose body", op.body.Validate(value))
}

// removeRefused removes the operations of a batch that the server refused, because each succeeds or
// fails on its own. It returns false if none is left.
func removeRefused(request, answer any) bool {
	operations, isBatch := object(request)["operations"].([]any)
	results, hasResults := object(answer)["results"].([]any)
	if !isBatch || !hasResults || len(operations) != len(results) {
		return true
	}

	accepted := []any{}
	for i := range operations {
		if object(results[i])["receipt"] != nil {
			accepted = append(accepted, operations[i])
		}
	}
	object(request)["operations"] = accepted
	return len(accepted) > 0
}

// removeNulls removes members that are null. The servers treat them as absent, and the document does
// not describe them, so that generated clients do not send them.
func removeNulls(value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if member == nil {
				delete(value, name)
			}
			if name != "metadata" {
				removeNulls(member)
			}
		}
	case []any:
		for _, element := range value {
			removeNulls(element)
		}
	}
}

// describe returns nil, or an error that says what is not valid.
func describe(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s does not match the document: %w", what, err)
}
