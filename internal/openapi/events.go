package openapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/docs"
)

// eventSchemas has the schemas of docs/asyncapi.json, by name.
type eventSchemas struct {
	byName map[string]map[string]any
	stream map[string]map[string]any // the query parameters of GET /v1/events of a gateway
}

// readEventSchemas panics if docs/asyncapi.json has another form, which is a bug.
func readEventSchemas() *eventSchemas {
	var document struct {
		Components struct {
			Schemas map[string]map[string]any
		}
		Operations struct {
			Stream struct {
				Bindings struct {
					HTTP struct {
						Query struct {
							Properties map[string]map[string]any
						}
					}
				}
			}
		}
	}
	err := json.Unmarshal(docs.AsyncAPI, &document)
	if err != nil {
		panic("openapi: docs/asyncapi.json: " + err.Error())
	}
	return &eventSchemas{
		byName: document.Components.Schemas,
		stream: document.Operations.Stream.Bindings.HTTP.Query.Properties,
	}
}

// addEventSchemas adds the schemas of docs/asyncapi.json that the document refers to.
func (d *Document) addEventSchemas() {
	for _, name := range []string{"Balance", "Event"} {
		if d.isReferredTo(name) {
			d.addEventSchema(name)
		}
	}
}

// isReferredTo reports whether the document has a reference to the schema.
func (d *Document) isReferredTo(name string) bool {
	text, err := json.Marshal(d.OpenAPI)
	if err != nil {
		panic("openapi: " + err.Error()) // a bug: the document has only types of this project
	}
	return bytes.Contains(text, []byte(`"`+schemaPrefix+name+`"`))
}

// addEventSchema adds a schema, and all schemas to which it refers.
func (d *Document) addEventSchema(name string) {
	schemas := d.Components.Schemas.Map()
	if schemas[name] != nil {
		return
	}
	schema := &huma.Schema{}
	schemas[name] = schema
	schema.Extensions = d.convertObject(d.events.byName[name])
	d.addDiscriminator(schema)
}

// StreamParams returns the parameters of a gateway's GET /v1/events, as docs/asyncapi.json describes
// them, without the token.
func (d *Document) StreamParams() []Param {
	params := []Param{HeaderParam("Last-Event-ID",
		"The same as lastEventId, as EventSource sends it when it reconnects", Text(""))}
	for _, name := range sortedKeys(d.events.stream) {
		schema := maps.Clone(d.events.stream[name])
		description, _ := schema["description"].(string)
		delete(schema, "description")
		param := QueryParam(name, description, &huma.Schema{Extensions: schema})
		switch name {
		case "access_token":
			continue
		case "accounts", "types", "reasons", "features":
			param.Schema = &huma.Schema{Type: huma.TypeArray, Items: param.Schema}
		}
		params = append(params, param)
	}
	return params
}

// convertSchema returns a part of a schema in the form that generators of clients support best.
func (d *Document) convertSchema(part any) any {
	switch part := part.(type) {
	case map[string]any:
		return d.convertObject(part)
	case []any:
		converted := make([]any, len(part))
		for i := range part {
			converted[i] = d.convertSchema(part[i])
		}
		return converted
	}
	return part
}

func (d *Document) convertObject(part map[string]any) map[string]any {
	_, isObject := part["properties"]
	converted := make(map[string]any, len(part))
	for key, value := range part {
		ref, isText := value.(string)
		switch {
		case key == "$ref" && isText:
			d.addEventSchema(strings.TrimPrefix(ref, schemaPrefix))
			converted[key] = value
		case key == "const":
			converted["enum"] = []any{value}
		case key == "oneOf" && isObject:
			// It only says which optional members an account sees. Generators would make it a union of
			// types without members.
		default:
			converted[key] = d.convertSchema(value)
		}
	}
	return converted
}

// addDiscriminator adds the discriminator to a schema that has alternatives.
func (d *Document) addDiscriminator(schema *huma.Schema) {
	alternatives, _ := schema.Extensions["oneOf"].([]any)
	if len(alternatives) == 0 {
		return
	}

	mapping := map[string]string{}
	member := ""
	for _, alternative := range alternatives {
		ref, _ := alternative.(map[string]any)["$ref"].(string)
		name := strings.TrimPrefix(ref, schemaPrefix)
		properties, _ := d.events.byName[name]["properties"].(map[string]any)
		member = discriminatorOf(properties)
		value, _ := properties[member].(map[string]any)["const"].(string)
		mapping[value] = ref
	}
	schema.Extensions["discriminator"] = map[string]any{"propertyName": member, "mapping": mapping}
}

// discriminatorOf returns the member of an alternative by which the alternatives differ.
func discriminatorOf(properties map[string]any) string {
	if properties["eventType"] != nil {
		return "eventType"
	}
	return "accountType"
}
