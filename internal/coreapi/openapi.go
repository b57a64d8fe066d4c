package coreapi

import (
	_ "embed"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
)

//go:embed description.md
var description string

// document is the part of the OpenAPI document that is no operation.
func document() huma.Config {
	return huma.Config{
		// The document and its page are served by documentation; huma's own routes
		// would build the document on the first request, unguarded.
		OpenAPIPath: "", DocsPath: "", SchemasPath: "",
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Points ledger", Version: "1.0.0", Description: description,
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Servers: []*huma.Server{{URL: "/"}},
			Tags: []*huma.Tag{
				{Name: "Operations", Description: "What changes balances."},
				{Name: "Queries", Description: "What tells about balances."},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "Claims: sub, accounts, scope, exp."},
				},
			},
		},
	}
}

const requestSuffix = "Request"

// schemaName gives Receipt for receiptShape and HoldRequest for holdBody.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	switch {
	case name == "Details":
		return "Problem"
	case strings.HasSuffix(name, "Shape"):
		return strings.TrimSuffix(name, "Shape")
	case strings.HasSuffix(name, "Body"):
		return strings.TrimSuffix(name, "Body") + requestSuffix
	}
	return name
}

// param describes a parameter of path, query or header.
type param = *huma.Param

func text(name, in, doc string, required bool, s *huma.Schema, example any) param {
	return &huma.Param{Name: name, In: in, Description: doc, Required: required, Schema: s, Example: example}
}

func str(pattern string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Pattern: pattern} }

func formatted(format string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: format}
}

func whole(low, high float64, def any) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &low, Maximum: &high, Default: def}
}

func atMost(n int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &n} }

const reasonPattern = `^[a-z][a-z0-9_]{0,63}$`

const exampleID = "01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a"

var (
	accountParam = text("account", "path", "user:<id> or model:<id>", true,
		str(`^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$`), "user:u1")
	escrowParam      = text("escrowId", "path", "The escrow's id, from the hold's receipt", true, formatted("uuid"), exampleID)
	transactionParam = text("transactionId", "path", "The transaction's id, from a receipt", true, formatted("uuid"), exampleID)
	limitParam       = text("limit", "query", "How many at most", false, whole(1, maxLimit, defaultLimit), nil)
	beforeParam      = text("before", "query", "The cursor that the previous page gave as next", false, str(""), nil)
	reasonParam      = text("reason", "query", "Only entries with this reason. A page may hold fewer than limit and still have a next one", false, str(reasonPattern), nil)
	fromParam        = text("from", "query", "Only entries made at this time or later", false, formatted("date-time"), nil)
	toParam          = text("to", "query", "Only entries made before this time", false, formatted("date-time"), nil)
	asOfParam        = text("asOf", "query", "The balance after all that happened up to and including this millisecond. Absent: as of the last commit", false, formatted("date-time"), nil)
	afterParam       = text("after", "query", "Only events with a greater seq", false, whole(0, 9007199254740991, 0), nil)
	statusParam      = text("status", "query", "Only escrows with this status. A page may hold fewer than limit and still have a next one", false, &huma.Schema{Type: huma.TypeString,
		Enum: []any{"held", "settled", "refunded", "partially_settled"}}, nil)

	keyParam = text("Idempotency-Key", "header", "Names this request, 1 to 255 visible ASCII characters, scoped per operation. The same key with the same request gives the first answer again and changes nothing.", true,
		str(`^[!-~]{1,255}$`), "order-4711-hold")
	requestIDParam = text("X-Request-Id", "header", "Kept with the ledger entries as requestId and echoed; made up when absent", false, atMost(255), nil)
	traceParam     = text("traceparent", "header", "W3C trace context; becomes the correlationId when the body has none", false, atMost(255), nil)
)

// Who may call a read.
const (
	ownAccount = "The scope " + auth.ScopeRead + ", or the account is one of the token's own."
	readScope  = "The scope " + auth.ScopeRead + "."
)

// describer turns Go types into the document's schemas.
type describer struct{ schemas huma.Registry }

func (d describer) schema(v any) *huma.Schema { return d.schemas.Schema(reflect.TypeOf(v), true, "") }

func (d describer) write(id, path, scope, summary, doc string, status int, body any, params []param, refusals ...int) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Tags: []string{"Operations"}, Summary: summary,
		Description: doc + "\n\nNeeds the scope `" + scope + "`, which gives authority over all accounts: give it to services only.",
		Security:    []map[string][]string{{"token": {scope}}},
		Parameters:  append(append([]param{}, params...), keyParam, requestIDParam, traceParam),
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: d.schema(body)}}},
	}
	op.Responses = d.answers(status, "The receipt", receiptShape{}, map[string]*huma.Param{
		"Idempotent-Replayed": {Description: "true when the key was used before: this is the first answer again.", Schema: str("")},
		"X-Request-Id":        {Description: "The request's id.", Schema: str("")},
	}, append([]int{http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}, refusals...))
	return op
}

func (d describer) read(id, path, summary, doc, who string, answer any, params ...param) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{"Queries"}, Summary: summary,
		Description: strings.TrimSpace(doc + "\n\nWho may: " + who),
		Security:    []map[string][]string{{"token": {auth.ScopeRead}}},
		Parameters:  params,
	}
	op.Responses = d.answers(http.StatusOK, "OK", answer, map[string]*huma.Param{
		"X-Request-Id": {Description: "The request's id.", Schema: str("")},
	}, []int{http.StatusNotFound})
	return op
}

// answers describes the good answer and the problems, with the codes that each
// status stands for.
func (d describer) answers(status int, doc string, body any, headers map[string]*huma.Param, refusals []int) map[string]*huma.Response {
	out := map[string]*huma.Response{
		strconv.Itoa(status): {
			Description: doc, Headers: headers,
			Content: map[string]*huma.MediaType{"application/json": {Schema: d.schema(body)}},
		},
	}
	all := append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable}, refusals...)
	for _, s := range all {
		out[strconv.Itoa(s)] = &huma.Response{
			Description: codes(s),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: d.schema(problem.Details{})}},
		}
	}
	return out
}

// codes lists what the table has for a status.
func codes(status int) string {
	var out []string
	for _, k := range kinds {
		if k.status != status {
			continue
		}
		if c := "`" + k.code + "`"; len(out) == 0 || out[len(out)-1] != c {
			out = append(out, c)
		}
	}
	return strings.Join(out, ", ")
}
