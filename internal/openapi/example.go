package openapi

import (
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// exampleOf returns an example of a schema: its own, or one that consists of the examples of its
// required members, or of all members if none is required. Of alternatives it uses the first.
func (d *Document) exampleOf(schema *huma.Schema) any {
	if schema.Ref != "" {
		return d.exampleOf(d.Component(schema))
	}

	switch {
	case len(schema.Examples) > 0:
		return schema.Examples[0]
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case len(schema.OneOf) > 0:
		return d.exampleOf(schema.OneOf[0])
	case schema.Type == huma.TypeArray:
		return []any{d.exampleOf(schema.Items)}
	case schema.Type != huma.TypeObject:
		return nil
	}

	example := map[string]any{}
	for name, member := range schema.Properties {
		hasExample := len(schema.Required) == 0 && len(member.Examples) > 0
		if hasExample || slices.Contains(schema.Required, name) {
			example[name] = d.exampleOf(member)
		}
	}
	return example
}
