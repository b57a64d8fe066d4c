// Package openapitest compares requests and answers with an OpenAPI document, in tests. An answer
// that the document does not describe is an error: its status, a header, the content type or a member
// of the body. So is a request that the server accepted although the document does not allow it.
package openapitest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is a compiled OpenAPI document. It records which of the described answers were seen.
type Document struct {
	operations []*operation

	mu   sync.Mutex // protects seen
	seen map[string]bool
}

// operation is a described call.
type operation struct {
	id         string
	method     string
	segments   []string // of the path; {name} is a parameter
	parameters []parameter
	tokens     []string           // parameters of the query that can have a token
	body       *jsonschema.Schema // of the request; nil: it has none
	answers    map[string]*answer // by status
}

type parameter struct {
	name     string
	in       string // path, query or header
	required bool
	schema   *jsonschema.Schema
	kind     string // type of the schema
}

type answer struct {
	headers map[string]parameter          // by canonical name
	content map[string]*jsonschema.Schema // by content type
	codes   []string                      // of problems
}

const documentURL = "openapi.json"

// Parse compiles a document.
func Parse(text []byte) (*Document, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	document := object(root)
	closeObjects(document["components"])
	selectAlternatives(root)

	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	err = compiler.AddResource(documentURL, root)
	if err != nil {
		return nil, err
	}

	p := parser{root: document, compiler: compiler}
	d := &Document{seen: map[string]bool{}}
	for path, methods := range object(document["paths"]) {
		for method := range object(methods) {
			d.operations = append(d.operations, p.parseOperation(path, method))
		}
	}
	return d, p.err
}

// closeObjects makes each member that is not described an error. Clients must ignore such members,
// and a later version of the server may have more of them.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if node["properties"] != nil && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// selectAlternatives makes the discriminators of unions select their alternatives. Validation against
// all alternatives would cost several times more, and its errors would be longer.
func selectAlternatives(node any) {
	switch node := node.(type) {
	case map[string]any:
		discriminator := object(node["discriminator"])
		member, _ := discriminator["propertyName"].(string)
		if member != "" && node["oneOf"] != nil {
			replaceUnion(node, member, object(discriminator["mapping"]))
		}
		for _, child := range node {
			selectAlternatives(child)
		}
	case []any:
		for _, child := range node {
			selectAlternatives(child)
		}
	}
}

// replaceUnion replaces a union by one condition for each value of the member.
func replaceUnion(union map[string]any, member string, mapping map[string]any) {
	var values, conditions []any
	for value, ref := range mapping {
		values = append(values, value)
		conditions = append(conditions, map[string]any{
			"if":   map[string]any{"properties": map[string]any{member: map[string]any{"const": value}}},
			"then": map[string]any{"$ref": ref},
		})
	}
	delete(union, "oneOf")
	union["required"] = []any{member}
	union["properties"] = map[string]any{member: map[string]any{"enum": values}}
	union["allOf"] = conditions
}

// parser records its first error in err.
type parser struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	err      error
}

// resolve follows a reference. It returns the node and its pointer.
func (p *parser) resolve(pointer string) (node map[string]any, at string) {
	var current any = p.root
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch parent := current.(type) {
		case map[string]any:
			current = parent[step]
		case []any:
			var i int
			_, err := fmt.Sscan(step, &i)
			if err != nil || i >= len(parent) {
				return nil, pointer
			}
			current = parent[i]
		}
	}

	node = object(current)
	ref, isRef := node["$ref"].(string)
	if isRef {
		return p.resolve(ref)
	}
	return node, pointer
}

func (p *parser) parseOperation(path, method string) *operation {
	pointer := join("#/paths", path, method)
	node, _ := p.resolve(pointer)
	op := &operation{
		method:   strings.ToUpper(method),
		segments: strings.Split(path, "/"),
		answers:  map[string]*answer{},
	}
	op.id, _ = node["operationId"].(string)

	for _, scheme := range object(object(p.root["components"])["securitySchemes"]) {
		if object(scheme)["in"] == "query" {
			op.tokens = append(op.tokens, fmt.Sprint(object(scheme)["name"]))
		}
	}
	parameters, _ := node["parameters"].([]any)
	for i := range parameters {
		op.parameters = append(op.parameters, p.parseParameter(join(pointer, "parameters", fmt.Sprint(i))))
	}
	if node["requestBody"] != nil {
		op.body = p.compile(join(pointer, "requestBody", "content", "application/json", "schema"))
	}
	for status := range object(node["responses"]) {
		op.answers[status] = p.parseAnswer(join(pointer, "responses", status))
	}
	return op
}

func (p *parser) parseParameter(pointer string) parameter {
	node, pointer := p.resolve(pointer)
	schema, _ := p.resolve(join(pointer, "schema"))
	parsed := parameter{schema: p.compile(join(pointer, "schema"))}
	parsed.name, _ = node["name"].(string)
	parsed.in, _ = node["in"].(string)
	parsed.required, _ = node["required"].(bool)
	parsed.kind, _ = schema["type"].(string)
	return parsed
}

func (p *parser) parseAnswer(pointer string) *answer {
	node, pointer := p.resolve(pointer)
	a := &answer{
		headers: map[string]parameter{},
		content: map[string]*jsonschema.Schema{},
	}
	for name := range object(node["headers"]) {
		a.headers[http.CanonicalHeaderKey(name)] = p.parseParameter(join(pointer, "headers", name))
	}
	for contentType := range object(node["content"]) {
		at := join(pointer, "content", contentType, "schema")
		a.content[contentType] = p.compile(at)
		if contentType == problemType {
			a.codes = p.codesOf(at)
		}
	}
	return a
}

// codesOf returns the values of the member code of a problem.
func (p *parser) codesOf(pointer string) []string {
	schema, pointer := p.resolve(pointer)
	alternatives, _ := schema["oneOf"].([]any)
	var codes []string
	for i := range alternatives {
		codes = append(codes, p.codesOf(join(pointer, "oneOf", fmt.Sprint(i)))...)
	}
	values, _ := object(object(schema["properties"])["code"])["enum"].([]any)
	for _, value := range values {
		codes = append(codes, fmt.Sprint(value))
	}
	return codes
}

func (p *parser) compile(pointer string) *jsonschema.Schema {
	schema, err := p.compiler.Compile(documentURL + pointer)
	if err != nil && p.err == nil {
		p.err = err
	}
	return schema
}

// Unseen returns the described answers that no request has got: the operation, the status and the
// code of the problem.
func (d *Document) Unseen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var unseen []string
	for _, op := range d.operations {
		for status, a := range op.answers {
			for _, name := range a.names(op.id, status) {
				if !d.seen[name] {
					unseen = append(unseen, name)
				}
			}
		}
	}
	slices.Sort(unseen)
	return unseen
}

// names returns the names of the answers with a status: one for each code.
func (a *answer) names(id, status string) []string {
	if len(a.codes) == 0 {
		return []string{id + " " + status}
	}
	names := make([]string, len(a.codes))
	for i, code := range a.codes {
		names[i] = id + " " + status + " " + code
	}
	return names
}

func (d *Document) markSeen(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[name] = true
}

func object(node any) map[string]any {
	o, _ := node.(map[string]any)
	return o
}

// join appends the steps to a JSON pointer.
func join(pointer string, steps ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for _, step := range steps {
		pointer += "/" + escape.Replace(step)
	}
	return pointer
}
