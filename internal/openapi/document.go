// Package openapi builds the OpenAPI documents of the listeners. Each listener has its own document,
// because generated clients have one base URL, and because two listeners can have the same path.
//
// The schemas of balances and events are those of docs/asyncapi.json, so that both descriptions have
// the same types.
package openapi

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

// Info is the head of a document.
type Info struct {
	Title       string
	Description string
	Server      string // the default base URL
	Tags        []*huma.Tag
	Scopes      map[string]string // the scopes of tokens, with their meanings
}

// Document is an OpenAPI document.
type Document struct {
	*huma.OpenAPI
	events *eventSchemas
}

// requestSuffix ends the names of request bodies. They are closed: a member that is not described is
// an error. Answers are open, so that later versions can add members.
const requestSuffix = "Request"

// New returns a document without operations.
func New(info Info) *Document {
	return &Document{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       info.Title,
				Version:     buildinfo.Version,
				Description: info.Description,
				License: &huma.License{
					Name:       "Apache-2.0",
					Identifier: "Apache-2.0",
				},
			},
			Servers: []*huma.Server{{URL: info.Server, Description: "The default address."}},
			Tags:    info.Tags,
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry(schemaPrefix, schemaName),
				Responses:       map[string]*huma.Response{},
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": tokenScheme(info.Scopes)},
			},
		},
		events: readEventSchemas(),
	}
}

const (
	schemaPrefix   = "#/components/schemas/"
	responsePrefix = "#/components/responses/"
)

// schemaName returns the name of a type's schema: Receipt for receiptShape, and HoldRequest for
// holdBody.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	switch {
	case strings.HasSuffix(name, "Shape"):
		return strings.TrimSuffix(name, "Shape")
	case strings.HasSuffix(name, "Body"):
		return strings.TrimSuffix(name, "Body") + requestSuffix
	}
	return name
}

// tokenScheme describes the tokens. OpenAPI has no place for the scopes of a bearer token, so the
// description lists them.
func tokenScheme(scopes map[string]string) *huma.SecurityScheme {
	text := "The claims are sub, accounts, scope, iat and exp. Scopes:\n"
	for _, scope := range sortedKeys(scopes) {
		text += "\n- `" + scope + "`: " + scopes[scope]
	}
	return &huma.SecurityScheme{
		Type:         "http",
		Scheme:       "bearer",
		BearerFormat: "JWT",
		Description:  text,
		Extensions:   map[string]any{"x-scopes": scopes},
	}
}

// RequireScopes is the security of a call that needs a token with one of the scopes.
func RequireScopes(scopes ...string) []map[string][]string {
	var security []map[string][]string
	for _, scope := range scopes {
		security = append(security, map[string][]string{"token": {scope}})
	}
	return security
}

// RequireToken is the security of a call that needs a token, and not a certain scope.
func RequireToken() []map[string][]string {
	return []map[string][]string{{"token": {}}}
}

// NoToken is the security of a public call.
func NoToken() []map[string][]string { return []map[string][]string{} }

// SchemaOf returns the schema of v's type. The schemas of structs are components.
func (d *Document) SchemaOf(v any) *huma.Schema {
	return d.Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

// JSONBody describes a required request body with the type of v and an example of it.
func (d *Document) JSONBody(v any) *huma.RequestBody {
	schema := d.SchemaOf(v)
	return &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{"application/json": {
			Schema:  schema,
			Example: d.exampleOf(schema),
		}},
	}
}

// JSONAnswer describes an answer with the type of v.
func (d *Document) JSONAnswer(description string, v any, headers map[string]*huma.Param) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers:     headers,
		Content:     map[string]*huma.MediaType{"application/json": {Schema: d.SchemaOf(v)}},
	}
}

// TextAnswer describes an answer that is not JSON.
func TextAnswer(description, contentType string) *huma.Response {
	return &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{contentType: {Schema: Text("")}},
	}
}

// NameSchema makes a schema a component and returns a reference to it.
func (d *Document) NameSchema(name string, schema *huma.Schema) *huma.Schema {
	d.Components.Schemas.Map()[name] = schema
	return ReferTo(name)
}

// ReferTo returns a reference to a component.
func ReferTo(name string) *huma.Schema { return &huma.Schema{Ref: schemaPrefix + name} }

// Component returns the schema to which a reference leads.
func (d *Document) Component(reference *huma.Schema) *huma.Schema {
	return d.Components.Schemas.Map()[strings.TrimPrefix(reference.Ref, schemaPrefix)]
}

// Union returns the schema of objects that differ in the value of a member. alternatives are
// references, by that value.
func Union(member string, alternatives map[string]*huma.Schema) *huma.Schema {
	union := &huma.Schema{Discriminator: &huma.Discriminator{
		PropertyName: member,
		Mapping:      map[string]string{},
	}}
	for _, value := range sortedKeys(alternatives) {
		union.OneOf = append(union.OneOf, alternatives[value])
		union.Discriminator.Mapping[value] = alternatives[value].Ref
	}
	return union
}

// Finish adds the schemas of events that others refer to, gives titles to all schemas, and opens those
// of answers. Call it after the last operation.
func (d *Document) Finish() {
	d.addEventSchemas()
	for name, schema := range d.Components.Schemas.Map() {
		if schema.Extensions["title"] == nil {
			schema.Title = name
		}
		isClosed := schema.AdditionalProperties == false
		if isClosed && !strings.HasSuffix(name, requestSuffix) {
			schema.AdditionalProperties = nil
		}
	}
}

// JSON returns the document, indented.
func (d *Document) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(d.OpenAPI, "", "  ")
	return append(text, '\n'), err
}
