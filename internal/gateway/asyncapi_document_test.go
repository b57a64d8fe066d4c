package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redroomrewards/realtime/docs"
)

// document is docs/asyncapi.json with every object closed: a member that is not
// described fails, although clients are told to ignore it. It remembers which parts
// of the description frames have used.
type document struct {
	root     any
	compiler *jsonschema.Compiler
	used     map[string]bool // pointers of properties, alternatives and values
}

const documentURL = "asyncapi.json"

func parseJSON(t testing.TB, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%.200s: %v", raw, err)
	}
	return v
}

func openDocument(t testing.TB) *document {
	t.Helper()
	d := &document{root: parseJSON(t, docs.AsyncAPI), compiler: jsonschema.NewCompiler(), used: map[string]bool{}}
	closeObjects(d.at("#/components/schemas"))
	d.compiler.DefaultDraft(jsonschema.Draft7)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(documentURL, d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if node["properties"] != nil && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, v := range node {
			closeObjects(v)
		}
	case []any:
		for _, v := range node {
			closeObjects(v)
		}
	}
}

// at follows a pointer such as #/components/schemas/Seq. It is nil when that leads nowhere.
func (d *document) at(pointer string) any {
	node := d.root
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		switch n := node.(type) {
		case map[string]any:
			node = n[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}

// schema is the schema at the pointer, and where it is when that is a reference.
func (d *document) schema(pointer string) (map[string]any, string) {
	for {
		s, _ := d.at(pointer).(map[string]any)
		next, ok := s["$ref"].(string)
		if !ok {
			return s, pointer
		}
		pointer = next
	}
}

func (d *document) validate(pointer string, v any) error {
	s, err := d.compiler.Compile(documentURL + pointer)
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func payload(op string) string { return "#/components/messages/" + op + "/payload" }

// The channels.
const (
	webSocket  = "#/channels/wallet/messages/"
	serverSent = "#/channels/events/messages/"
)

// parameters are those of GET /v1/events.
const parameters = "#/operations/stream/bindings/http/query"

// check validates a frame of a channel and notes what of the description it used.
func (d *document) check(channel string, v any) error {
	frame, _ := v.(map[string]any)
	op, _ := frame["op"].(string)
	if d.at(channel+op) == nil {
		return fmt.Errorf("the document has no message %q there", op)
	}
	d.used[channel+op] = true
	return d.checkAt(payload(op), v)
}

func (d *document) checkAt(pointer string, v any) error {
	if err := d.validate(pointer, v); err != nil {
		return err
	}
	d.used[pointer] = true
	d.cover(pointer, v)
	return nil
}

// cover notes the parts of a valid value's schema that apply to it.
func (d *document) cover(pointer string, v any) {
	s, pointer := d.schema(pointer)
	for i := range alternatives(s) {
		if branch := fmt.Sprintf("%s/oneOf/%d", pointer, i); d.validate(branch, v) == nil {
			d.used[branch] = true
			d.cover(branch, v)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name := range properties(s) {
			if member, ok := v[name]; ok {
				d.used[pointer+"/properties/"+name] = true
				d.cover(pointer+"/properties/"+name, member)
			}
		}
	case []any:
		for _, item := range v {
			d.cover(pointer+"/items", item)
		}
	}
	for _, value := range values(s) {
		if value == v {
			d.used[fmt.Sprintf("%s/%v", pointer, value)] = true
		}
	}
}

// unused lists what no frame has used, of all that the channels' messages can reach, and parameters that nobody gave.
func (d *document) unused() []string {
	seen := map[string]bool{parameters: true}
	d.reach(parameters, seen)
	for _, channel := range []string{webSocket, serverSent} {
		messages, _ := d.at(strings.TrimSuffix(channel, "/")).(map[string]any)
		for op := range messages {
			seen[channel+op], seen[payload(op)] = true, true
			d.reach(payload(op), seen)
		}
	}
	maps.DeleteFunc(seen, func(pointer string, part bool) bool { return !part || d.used[pointer] })
	return slices.Sorted(maps.Keys(seen))
}

func (d *document) reach(pointer string, seen map[string]bool) {
	s, pointer := d.schema(pointer)
	part := func(suffix string) {
		p := pointer + suffix
		seen[p] = true
		d.reach(p, seen)
	}
	for i := range alternatives(s) {
		part(fmt.Sprintf("/oneOf/%d", i))
	}
	for name := range properties(s) {
		part("/properties/" + name)
	}
	for _, value := range values(s) {
		seen[fmt.Sprintf("%s/%v", pointer, value)] = true
	}
	if s["items"] != nil {
		d.reach(pointer+"/items", seen)
	}
}

func alternatives(s map[string]any) []any {
	list, _ := s["oneOf"].([]any)
	return list
}

func properties(s map[string]any) map[string]any {
	m, _ := s["properties"].(map[string]any)
	return m
}

// values are those of an enumeration or a boolean.
func values(s map[string]any) []any {
	if s["type"] == "boolean" {
		return []any{true, false}
	}
	list, _ := s["enum"].([]any)
	return list
}

// The document is one of AsyncAPI 3.0, by the schema of those who make it.
func TestAsyncAPIDocumentIsValid(t *testing.T) {
	f, err := os.Open("testdata/asyncapi-3.0.0/schema.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(unzip)
	if err != nil {
		t.Fatal(err)
	}
	const meta = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	c := jsonschema.NewCompiler()
	if err := c.AddResource(meta, parseJSON(t, raw)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(parseJSON(t, docs.AsyncAPI)); err != nil {
		t.Errorf("%#v", err)
	}
	// The schema cannot know whether references lead somewhere.
	d := openDocument(t)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if to, ok := v["$ref"].(string); ok && d.at(to) == nil {
				t.Errorf("%s leads nowhere", to)
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(d.root)
	messages, _ := d.at("#/components/messages").(map[string]any)
	for name, m := range messages {
		examples, _ := m.(map[string]any)["examples"].([]any)
		for _, e := range examples {
			if err := d.validate(payload(name), e.(map[string]any)["payload"]); err != nil {
				t.Errorf("example of %s: %v", name, err)
			}
		}
	}
}
