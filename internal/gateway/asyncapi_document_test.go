package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redroomrewards/realtime/docs"
)

// document is docs/asyncapi.json with every object closed: a member that is not described is an
// error, although clients must ignore it. The document records which of its parts frames have used.
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
	d := &document{
		root:     parseJSON(t, docs.AsyncAPI),
		compiler: jsonschema.NewCompiler(),
		used:     map[string]bool{},
	}
	closeObjects(d.nodeAt("#/components/schemas"))
	d.compiler.DefaultDraft(jsonschema.Draft7)
	d.compiler.AssertFormat()
	err := d.compiler.AddResource(documentURL, d.root)
	if err != nil {
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

// nodeAt returns the node at a pointer such as #/components/schemas/Seq, or nil if there is none.
func (d *document) nodeAt(pointer string) any {
	node := d.root
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		switch n := node.(type) {
		case map[string]any:
			node = n[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}

// resolve returns the schema at the pointer and its own pointer. It follows references.
func (d *document) resolve(pointer string) (map[string]any, string) {
	for {
		s, _ := d.nodeAt(pointer).(map[string]any)
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

func payloadPointer(op string) string { return "#/components/messages/" + op + "/payload" }

// The channels.
const (
	webSocketChannel  = "#/channels/wallet/messages/"
	serverSentChannel = "#/channels/events/messages/"
)

// streamParameters are the query parameters of GET /v1/events.
const streamParameters = "#/operations/stream/bindings/http/query"

// checkFrame validates a frame of a channel and records the parts of the description that it uses.
func (d *document) checkFrame(channel string, v any) error {
	frame, _ := v.(map[string]any)
	op, _ := frame["op"].(string)
	if d.nodeAt(channel+op) == nil {
		return fmt.Errorf("the channel must have the message %q", op)
	}
	d.used[channel+op] = true
	return d.checkValue(payloadPointer(op), v)
}

// checkValue validates a value and records the parts of the description that it uses.
func (d *document) checkValue(pointer string, v any) error {
	err := d.validate(pointer, v)
	if err != nil {
		return err
	}
	d.used[pointer] = true
	d.recordParts(pointer, v)
	return nil
}

// recordParts records the parts of a valid value's schema that apply to it.
func (d *document) recordParts(pointer string, v any) {
	s, pointer := d.resolve(pointer)
	for i := range alternativesOf(s) {
		branch := fmt.Sprintf("%s/oneOf/%d", pointer, i)
		if d.validate(branch, v) == nil {
			d.used[branch] = true
			d.recordParts(branch, v)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name := range propertiesOf(s) {
			if member, ok := v[name]; ok {
				d.used[pointer+"/properties/"+name] = true
				d.recordParts(pointer+"/properties/"+name, member)
			}
		}
	case []any:
		for _, item := range v {
			d.recordParts(pointer+"/items", item)
		}
	}
	for _, value := range valuesOf(s) {
		if value == v {
			d.used[fmt.Sprintf("%s/%v", pointer, value)] = true
		}
	}
}

// unusedParts returns the parts of the channels' messages and of the parameters that were not used.
func (d *document) unusedParts() []string {
	reachable := map[string]bool{streamParameters: true}
	d.addReachable(streamParameters, reachable)
	for _, channel := range []string{webSocketChannel, serverSentChannel} {
		messages, _ := d.nodeAt(strings.TrimSuffix(channel, "/")).(map[string]any)
		for op := range messages {
			reachable[channel+op] = true
			reachable[payloadPointer(op)] = true
			d.addReachable(payloadPointer(op), reachable)
		}
	}
	maps.DeleteFunc(reachable, func(pointer string, isPart bool) bool { return !isPart || d.used[pointer] })
	return slices.Sorted(maps.Keys(reachable))
}

// addReachable adds the pointers of all parts of a schema.
func (d *document) addReachable(pointer string, reachable map[string]bool) {
	s, pointer := d.resolve(pointer)
	addPart := func(suffix string) {
		part := pointer + suffix
		reachable[part] = true
		d.addReachable(part, reachable)
	}
	for i := range alternativesOf(s) {
		addPart(fmt.Sprintf("/oneOf/%d", i))
	}
	for name := range propertiesOf(s) {
		addPart("/properties/" + name)
	}
	for _, value := range valuesOf(s) {
		reachable[fmt.Sprintf("%s/%v", pointer, value)] = true
	}
	if s["items"] != nil {
		d.addReachable(pointer+"/items", reachable)
	}
}

func alternativesOf(s map[string]any) []any {
	list, _ := s["oneOf"].([]any)
	return list
}

func propertiesOf(s map[string]any) map[string]any {
	m, _ := s["properties"].(map[string]any)
	return m
}

// valuesOf returns the values of an enumeration or a boolean.
func valuesOf(s map[string]any) []any {
	if s["type"] == "boolean" {
		return []any{true, false}
	}
	list, _ := s["enum"].([]any)
	return list
}

// The document is valid under the official schema of AsyncAPI 3.0.
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
	const schemaURL = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	c := jsonschema.NewCompiler()
	err = c.AddResource(schemaURL, parseJSON(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaURL)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Validate(parseJSON(t, docs.AsyncAPI))
	if err != nil {
		t.Errorf("%#v", err)
	}
}

// The targets of all references exist. The schema cannot check this.
func TestAsyncAPIReferencesExist(t *testing.T) {
	d := openDocument(t)
	for _, pointer := range references(d.root) {
		if d.nodeAt(pointer) == nil {
			t.Errorf("reference to %s: got no target", pointer)
		}
	}
}

// references returns the pointers of all references in a node.
func references(node any) []string {
	var found []string
	switch node := node.(type) {
	case map[string]any:
		pointer, ok := node["$ref"].(string)
		if ok {
			found = append(found, pointer)
		}
		for _, member := range node {
			found = append(found, references(member)...)
		}
	case []any:
		for _, item := range node {
			found = append(found, references(item)...)
		}
	}
	return found
}

func TestAsyncAPIExamplesAreValid(t *testing.T) {
	d := openDocument(t)
	messages, _ := d.nodeAt("#/components/messages").(map[string]any)
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			examples, _ := message.(map[string]any)["examples"].([]any)
			for _, example := range examples {
				err := d.validate(payloadPointer(name), example.(map[string]any)["payload"])
				if err != nil {
					t.Errorf("%v: %v", example, err)
				}
			}
		})
	}
}
