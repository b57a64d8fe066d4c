package coreapi

import "github.com/danielgtaylor/huma/v2"

// param describes a parameter in the path, the query or a header.
type param = *huma.Param

func pathParam(name, doc string, schema *huma.Schema, example string) param {
	return &huma.Param{
		Name:        name,
		In:          "path",
		Description: doc,
		Required:    true,
		Schema:      schema,
		Example:     example,
	}
}

func queryParam(name, doc string, schema *huma.Schema) param {
	return &huma.Param{
		Name:        name,
		In:          "query",
		Description: doc,
		Schema:      schema,
	}
}

func headerParam(name, doc string, schema *huma.Schema) param {
	return &huma.Param{
		Name:        name,
		In:          "header",
		Description: doc,
		Schema:      schema,
	}
}

// requestIDHeader describes the header X-Request-Id of an answer.
func requestIDHeader() *huma.Param {
	return &huma.Param{
		Description: "The id of the request.",
		Schema:      stringSchema(""),
	}
}

// replayedHeader describes the header Idempotent-Replayed of an answer.
func replayedHeader() *huma.Param {
	return &huma.Param{
		Description: "true if the key was used before. The answer is the first one.",
		Schema:      stringSchema(""),
	}
}

func stringSchema(pattern string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern}
}

func formatSchema(format string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: format}
}

func integerSchema(low, high float64, absent any) *huma.Schema {
	return &huma.Schema{
		Type:    huma.TypeInteger,
		Format:  "int64",
		Minimum: &low,
		Maximum: &high,
		Default: absent,
	}
}

func boundedSchema(maxLength int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, MaxLength: &maxLength}
}

var statusSchema = &huma.Schema{
	Type: huma.TypeString,
	Enum: []any{"held", "settled", "refunded", "partially_settled"},
}

const reasonPattern = `^[a-z][a-z0-9_]{0,63}$`

const exampleID = "01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a"

// Parameters in the path.
var (
	accountParam = pathParam("account", "user:<id> or model:<id>",
		stringSchema(`^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$`), "user:u1")
	escrowParam = pathParam("escrowId", "The id of the escrow, from the receipt of the hold",
		formatSchema("uuid"), exampleID)
	transactionParam = pathParam("transactionId", "The id of the transaction, from a receipt",
		formatSchema("uuid"), exampleID)
)

// Parameters in the query.
var (
	limitParam = queryParam("limit", "The maximum number of results",
		integerSchema(1, maxLimit, defaultLimit))
	beforeParam = queryParam("before", "The cursor from next of the previous page",
		stringSchema(""))
	reasonParam = queryParam("reason", "Only entries with this reason. "+
		"A page may have fewer entries than limit and still have a next page",
		stringSchema(reasonPattern))
	fromParam = queryParam("from", "Only entries that were made at this time or later",
		formatSchema("date-time"))
	toParam = queryParam("to", "Only entries that were made before this time",
		formatSchema("date-time"))
	asOfParam = queryParam("asOf", "The balance includes all changes up to and including this millisecond. "+
		"The default is the last commit",
		formatSchema("date-time"))
	afterParam = queryParam("after", "Only events with a greater seq",
		integerSchema(0, 9007199254740991, 0))
	statusParam = queryParam("status", "Only escrows with this status. "+
		"A page may have fewer escrows than limit and still have a next page",
		statusSchema)
)

// Headers of a request.
var (
	keyParam       = idempotencyKeyParam()
	requestIDParam = headerParam("X-Request-Id", "Stored with the ledger entries as requestId "+
		"and returned in the answer. The core generates one if it is absent",
		boundedSchema(255))
	traceParam = headerParam("traceparent", "W3C trace context. It becomes the correlationId if the body has none",
		boundedSchema(255))
)

func idempotencyKeyParam() param {
	p := headerParam("Idempotency-Key", "The key of this request: 1 to 255 visible ASCII characters. "+
		"Keys are scoped per operation. "+
		"The same key with the same request returns the first answer again and changes nothing.",
		stringSchema(`^[!-~]{1,255}$`))
	p.Required = true
	p.Example = "order-4711-hold"
	return p
}
