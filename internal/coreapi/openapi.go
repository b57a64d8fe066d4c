package coreapi

import (
	_ "embed"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/problem"
)

//go:embed description.md
var description string

// newDocument returns the OpenAPI document without its operations.
func newDocument() huma.Config {
	return huma.Config{
		// addDocumentation serves the document and its page. The routes of huma would generate the
		// document on the first request, without a lock.
		OpenAPIPath: "",
		DocsPath:    "",
		SchemasPath: "",
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Points ledger",
				Version:     buildinfo.Version,
				Description: description,
				License: &huma.License{
					Name:       "Apache-2.0",
					Identifier: "Apache-2.0",
				},
			},
			Servers: []*huma.Server{{URL: "/"}},
			Tags: []*huma.Tag{
				{Name: "Operations", Description: "Calls that change balances."},
				{Name: "Queries", Description: "Calls that read balances and their history."},
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": tokenScheme()},
			},
		},
	}
}

func tokenScheme() *huma.SecurityScheme {
	return &huma.SecurityScheme{
		Type:         "http",
		Scheme:       "bearer",
		BearerFormat: "JWT",
		Description:  "Claims: sub, accounts, scope, exp.",
	}
}

const requestSuffix = "Request"

// schemaName returns the name of a type's schema: Receipt for receiptShape, and HoldRequest for
// holdBody.
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

// Rights to read, for the description of a query.
const (
	ownAccount = "the scope " + auth.ScopeRead + ", or a token for the account."
	readScope  = "the scope " + auth.ScopeRead + "."
)

// scopeNote is the part of a description that all scopes for writing share.
const scopeNote = "The scope is valid for all accounts, so give it only to services."

// operationDoc is the description of an operation's call.
type operationDoc struct {
	id          string
	path        string
	scope       string
	summary     string
	description string
	status      int   // status of a receipt
	body        any   // a value of the request's type
	target      param // the parameter in the path
	refusals    []int // statuses in addition to those of all operations
}

// queryDoc is the description of a query's call.
type queryDoc struct {
	id          string
	path        string
	summary     string
	description string
	readers     string // ownAccount or readScope
	answer      any    // a value of the answer's type
	params      []param
	headers     map[string]*huma.Param // headers of the answer in addition to X-Request-Id
}

// describer makes the operations of the document, and schemas from Go types.
type describer struct{ schemas huma.Registry }

func (d describer) schemaOf(v any) *huma.Schema {
	return d.schemas.Schema(reflect.TypeOf(v), true, "")
}

// jsonContent describes a body of JSON with the type of v.
func (d describer) jsonContent(contentType string, v any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{
		contentType: {Schema: d.schemaOf(v)},
	}
}

func (d describer) describeBody(v any) *huma.RequestBody {
	return &huma.RequestBody{
		Required: true,
		Content:  d.jsonContent("application/json", v),
	}
}

func (d describer) describeOperation(doc operationDoc) huma.Operation {
	op := huma.Operation{
		OperationID: doc.id,
		Method:      http.MethodPost,
		Path:        doc.path,
		Tags:        []string{"Operations"},
		Summary:     doc.summary,
		Description: doc.description + "\n\nRequires the scope `" + doc.scope + "`. " + scopeNote,
		Security:    []map[string][]string{{"token": {doc.scope}}},
		Parameters:  []param{doc.target, keyParam, requestIDParam, traceParam},
		RequestBody: d.describeBody(doc.body),
	}

	headers := map[string]*huma.Param{
		"Idempotent-Replayed": replayedHeader(),
		"X-Request-Id":        requestIDHeader(),
	}
	refusals := append([]int{http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}, doc.refusals...)
	op.Responses = d.describeResponses(doc.status, "The receipt", receiptShape{}, headers, refusals)
	return op
}

func (d describer) describeQuery(doc queryDoc) huma.Operation {
	op := huma.Operation{
		OperationID: doc.id,
		Method:      http.MethodGet,
		Path:        doc.path,
		Tags:        []string{"Queries"},
		Summary:     doc.summary,
		Description: strings.TrimSpace(doc.description + "\n\nRequires " + doc.readers),
		Security:    []map[string][]string{{"token": {auth.ScopeRead}}},
		Parameters:  doc.params,
	}

	headers := map[string]*huma.Param{"X-Request-Id": requestIDHeader()}
	maps.Copy(headers, doc.headers)
	op.Responses = d.describeResponses(http.StatusOK, "OK", doc.answer, headers, []int{http.StatusNotFound})
	return op
}

// describeResponses describes the successful answer and the problems. Each problem lists the codes
// of its status.
func (d describer) describeResponses(
	status int, doc string, body any, headers map[string]*huma.Param, refusals []int,
) map[string]*huma.Response {
	out := map[string]*huma.Response{
		strconv.Itoa(status): {
			Description: doc,
			Headers:     headers,
			Content:     d.jsonContent("application/json", body),
		},
	}

	statuses := append([]int{
		http.StatusBadRequest,
		http.StatusUnauthorized,
		http.StatusForbidden,
		http.StatusServiceUnavailable,
	}, refusals...)
	for _, refusal := range statuses {
		out[strconv.Itoa(refusal)] = &huma.Response{
			Description: listCodes(refusal),
			Content:     d.jsonContent("application/problem+json", problem.Details{}),
		}
	}
	return out
}

// listCodes lists the codes of a status in the error table.
func listCodes(status int) string {
	var codes []string
	for i := range errorTable {
		code := "`" + errorTable[i].code + "`"
		isListed := slices.Contains(codes, code)
		if errorTable[i].status == status && !isListed {
			codes = append(codes, code)
		}
	}
	return strings.Join(codes, ", ")
}
