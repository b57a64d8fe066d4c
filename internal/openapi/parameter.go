package openapi

import "github.com/danielgtaylor/huma/v2"

// Param describes a parameter in the path, the query or a header.
type Param = *huma.Param

// PathParam describes a part of the path.
func PathParam(name, description string, schema *huma.Schema, example string) Param {
	return &huma.Param{
		Name:        name,
		In:          "path",
		Description: description,
		Required:    true,
		Schema:      schema,
		Example:     example,
	}
}

// QueryParam describes an optional parameter after the question mark.
func QueryParam(name, description string, schema *huma.Schema) Param {
	return &huma.Param{
		Name:        name,
		In:          "query",
		Description: description,
		Schema:      schema,
	}
}

// HeaderParam describes an optional header of a request.
func HeaderParam(name, description string, schema *huma.Schema) Param {
	return &huma.Param{
		Name:        name,
		In:          "header",
		Description: description,
		Schema:      schema,
	}
}

// Header describes a header of an answer that can be absent.
func Header(description string, schema *huma.Schema) Param {
	return &huma.Param{Description: description, Schema: schema}
}

// RequiredHeader describes a header that each such answer has.
func RequiredHeader(description string, schema *huma.Schema) Param {
	return &huma.Param{Description: description, Schema: schema, Required: true}
}

// Text is the schema of a string. An empty pattern allows any string.
func Text(pattern string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern}
}

// Formatted is the schema of a string with a format, for example uuid.
func Formatted(format string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: format}
}

// Choice is the schema of a string with these values.
func Choice(values ...any) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: values}
}

// Bounded is the schema of a string of at most maxLength characters.
func Bounded(maxLength int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, MaxLength: &maxLength}
}

// Integer is the schema of a whole number from low to high. absent is the default, or nil.
func Integer(low, high float64, absent any) *huma.Schema {
	return &huma.Schema{
		Type:    huma.TypeInteger,
		Format:  "int64",
		Minimum: &low,
		Maximum: &high,
		Default: absent,
	}
}

// AccountParam is the account in the path.
func AccountParam() Param {
	return PathParam("account", "user:<id> or model:<id>",
		Text(`^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$`), "user:u1")
}
