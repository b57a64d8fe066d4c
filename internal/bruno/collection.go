// Package bruno makes a collection for the API client Bruno from an OpenAPI document: one text file
// for each call, in folders by tag.
package bruno

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// document has the parts of an OpenAPI document that a collection needs.
type document struct {
	Info struct {
		Title string
	}
	Servers []struct {
		URL string
	}
	Tags []struct {
		Name string
	}
	Paths map[string]map[string]call
}

type call struct {
	OperationID string
	Summary     string
	Description string
	Tags        []string
	Parameters  []parameter
	RequestBody *struct {
		Content map[string]struct {
			Example json.RawMessage
		}
	}
	Security []map[string][]string

	method string
	path   string
}

type parameter struct {
	Name        string
	In          string // path, query or header
	Required    bool
	Description string
	Example     string
}

// variables are the values that one request sets and others use, by their parameters.
var variables = map[string]string{
	"escrowId":      "{{escrowId}}",
	"transactionId": "{{transactionId}}",
}

// Collection returns the files of the collection, by their paths. Parameters that are not required
// are switched off.
func Collection(text []byte) (map[string][]byte, error) {
	var d document
	err := json.Unmarshal(text, &d)
	if err != nil {
		return nil, fmt.Errorf("decode the OpenAPI document: %w", err)
	}

	files := map[string][]byte{
		"bruno.json": fmt.Appendf(nil, "{\n  \"version\": \"1\",\n  \"name\": %q,\n  \"type\": \"collection\"\n}\n", d.Info.Title),
		"collection.bru": []byte("auth {\n  mode: bearer\n}\n\n" +
			"auth:bearer {\n  token: {{token}}\n}\n"),
		"environments/core dev.bru": fmt.Appendf(nil, "vars {\n  coreURL: %s\n}\nvars:secret [\n  token\n]\n", d.Servers[0].URL),
	}
	for i, c := range d.calls() {
		body, err := c.appendRequest(nil, i+1)
		if err != nil {
			return nil, err
		}
		files[c.Tags[0]+"/"+c.OperationID+".bru"] = body
	}
	return files, nil
}

// calls returns the calls that need a token, in the order of their tags and ids.
func (d *document) calls() []call {
	var calls []call
	for path, methods := range d.Paths {
		for method, c := range methods {
			if len(c.Security) > 0 {
				c.method = method
				c.path = path
				calls = append(calls, c)
			}
		}
	}
	rank := func(c call) int {
		return slices.IndexFunc(d.Tags, func(tag struct{ Name string }) bool { return tag.Name == c.Tags[0] })
	}
	slices.SortFunc(calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.OperationID, b.OperationID))
	})
	return calls
}

// appendRequest appends the file of a call.
func (c *call) appendRequest(b []byte, position int) ([]byte, error) {
	b = fmt.Appendf(b, "meta {\n  name: %s\n  type: http\n  seq: %d\n}\n", c.OperationID, position)

	path := strings.NewReplacer("{", ":", "}", "").Replace(c.path)
	kind := "none"
	if c.RequestBody != nil {
		kind = "json"
	}
	b = fmt.Appendf(b, "\n%s {\n  url: {{coreURL}}%s\n  body: %s\n  auth: inherit\n}\n", c.method, path, kind)
	for _, block := range []struct{ name, in string }{
		{"params:query", "query"},
		{"params:path", "path"},
		{"headers", "header"},
	} {
		b = c.appendParameters(b, block.name, block.in)
	}

	if c.RequestBody != nil {
		var body bytes.Buffer
		err := json.Indent(&body, c.RequestBody.Content["application/json"].Example, "  ", "  ")
		if err != nil {
			return nil, fmt.Errorf("the body of %s must have an example: %w", c.OperationID, err)
		}
		b = fmt.Appendf(b, "\nbody:json {\n  %s\n}\n", body.Bytes())
	}

	switch c.OperationID {
	case "hold":
		b = append(b, "\nvars:post-response {\n  escrowId: res.body.escrowId\n  transactionId: res.body.transactionId\n}\n"...)
	case "credit":
		b = append(b, "\nvars:post-response {\n  transactionId: res.body.transactionId\n}\n"...)
	}

	text := strings.ReplaceAll(c.Summary+".\n\n"+c.Description, "\n", "\n  ")
	return fmt.Appendf(b, "\ndocs {\n  %s\n}\n", strings.ReplaceAll(text, "\n  \n", "\n\n")), nil
}

// appendParameters appends a block with the parameters that are in one place.
func (c *call) appendParameters(b []byte, block, in string) []byte {
	var lines []byte
	for _, p := range c.Parameters {
		if p.In != in {
			continue
		}
		value := cmp.Or(variables[p.Name], p.Example)
		off := ""
		if !p.Required {
			off = "~"
		}
		if p.Name == "Idempotency-Key" {
			value = "{{$guid}}" // a new one for each request
		}
		lines = fmt.Appendf(lines, "  %s%s: %s\n", off, p.Name, value)
	}
	if len(lines) == 0 {
		return b
	}
	return fmt.Appendf(b, "\n%s {\n%s}\n", block, lines)
}
