package coreapi

import (
	_ "embed"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/openapi"
)

//go:embed description.md
var description string

// newDocument returns the OpenAPI document without its operations.
func newDocument() *openapi.Document {
	return openapi.New(openapi.Info{
		Title:       "Points ledger",
		Description: description,
		Server:      "http://127.0.0.1:8080",
		Tags: []*huma.Tag{
			{Name: "Operations", Description: "Calls that change balances."},
			{Name: "Queries", Description: "Calls that read balances and their history."},
			{Name: "Documents", Description: "This description. It needs no token."},
		},
		Scopes: map[string]string{
			auth.ScopeCredit: "credit any account",
			auth.ScopeDebit:  "debit any account",
			auth.ScopeHold:   "hold points of any user",
			auth.ScopeSettle: "settle and refund any escrow",
			auth.ScopeRead:   "read all accounts; a token without it reads its own accounts",
			auth.ScopeEvents: "read the events of all accounts",
		},
	})
}

// Rights to read, for the description of a query.
const (
	ownAccount  = "the scope " + auth.ScopeRead + ", or a token for the account."
	readScope   = "the scope " + auth.ScopeRead + "."
	eventsScope = "the scope " + auth.ScopeEvents + "."
)

// scopeNote is the part of a description that all scopes for writing share.
const scopeNote = "The scope is valid for all accounts, so give it only to services."

// refusals has the codes of the problems of a call, by status.
type refusals map[int][]string

// fundsRefusals are the refusals of operations that take points from an account.
var fundsRefusals = refusals{
	http.StatusPaymentRequired: {"insufficient_funds"},
	http.StatusNotFound:        {"account_not_found"},
}

// escrowRefusals are the refusals of operations that close an escrow.
var escrowRefusals = refusals{
	http.StatusNotFound:            {"escrow_not_found"},
	http.StatusConflict:            {"escrow_already_processed"},
	http.StatusUnprocessableEntity: {"amount_mismatch", "idempotency_key_reused"},
}

// operationDoc is the description of an operation's call.
type operationDoc struct {
	id          string
	path        string
	scope       string
	summary     string
	description string
	status      int      // status of a receipt
	body        any      // a value of the request's type
	target      param    // the parameter in the path
	refusals    refusals // in addition to those of all operations
}

// queryDoc is the description of a query's call.
type queryDoc struct {
	id          string
	path        string
	summary     string
	description string
	readers     string   // ownAccount, readScope or eventsScope
	answer      any      // a value of the answer's type
	notFound    string   // the code of the status 404; empty: there is none
	refusals    refusals // in addition to those of all queries
	params      []param
	headers     map[string]param // headers of all answers in addition to X-Request-Id
}

// describer makes the operations of the document.
type describer struct{ *openapi.Document }

func (d describer) describeOperation(doc operationDoc) huma.Operation {
	op := huma.Operation{
		OperationID: doc.id,
		Method:      http.MethodPost,
		Path:        doc.path,
		Tags:        []string{"Operations"},
		Summary:     doc.summary,
		Description: doc.description + "\n\nRequires the scope `" + doc.scope + "`. " + scopeNote,
		Security:    openapi.RequireScopes(doc.scope),
		Parameters:  []param{doc.target, keyParam, requestIDParam, traceParam},
		RequestBody: d.JSONBody(doc.body),
	}

	refusals := refusals{
		http.StatusForbidden:             {"forbidden"},
		http.StatusRequestEntityTooLarge: {"request_too_large"},
		http.StatusUnprocessableEntity:   {"idempotency_key_reused"},
	}
	maps.Copy(refusals, doc.refusals)
	op.Responses = d.describeRefusals(refusals, nil)
	op.Responses[strconv.Itoa(doc.status)] = d.JSONAnswer("The receipt.", receiptShape{}, map[string]param{
		"Idempotent-Replayed": replayedHeader(),
		"X-Request-Id":        requestIDHeader(),
	})
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
		Security:    openapi.RequireToken(),
		Parameters:  append(doc.params, requestIDParam),
	}
	switch doc.readers {
	case readScope:
		op.Security = openapi.RequireScopes(auth.ScopeRead)
	case eventsScope:
		op.Security = openapi.RequireScopes(auth.ScopeEvents)
	}

	refusals := refusals{http.StatusForbidden: {"forbidden"}}
	if doc.notFound != "" {
		refusals[http.StatusNotFound] = []string{doc.notFound}
	}
	maps.Copy(refusals, doc.refusals)
	op.Responses = d.describeRefusals(refusals, doc.headers)
	headers := map[string]param{"X-Request-Id": requestIDHeader()}
	maps.Copy(headers, doc.headers)
	op.Responses[strconv.Itoa(http.StatusOK)] = d.JSONAnswer("The result.", doc.answer, headers)
	return op
}

// describeRefusals describes the problems of a call: those of all calls, and the given ones.
func (d describer) describeRefusals(more refusals, headers map[string]param) map[string]*huma.Response {
	all := refusals{
		http.StatusBadRequest:          {"invalid_request"},
		http.StatusUnauthorized:        {"unauthorized"},
		http.StatusInternalServerError: {"internal"},
		http.StatusServiceUnavailable:  {"overloaded", "unavailable"},
	}
	maps.Copy(all, more)

	out := map[string]*huma.Response{}
	for status, codes := range all {
		shared := map[string]param{"X-Request-Id": requestIDHeader()}
		out[strconv.Itoa(status)] = d.Problem(status, shared, headers, codes...)
	}
	return out
}

// describeDocuments describes the calls that return the document.
func (d describer) describeDocuments() {
	d.AddCall(openapi.Call{
		ID: "get-openapi", Method: http.MethodGet, Path: "/openapi.json", Tag: "Documents",
		Summary:  "This document",
		Security: openapi.NoToken(),
		Answers:  map[int]*huma.Response{200: d.JSONAnswer("The document.", map[string]any{}, nil)},
	})
	d.AddCall(openapi.Call{
		ID: "get-docs", Method: http.MethodGet, Path: "/docs", Tag: "Documents",
		Summary:  "A page that shows this document",
		Security: openapi.NoToken(),
		Answers:  map[int]*huma.Response{200: openapi.TextAnswer("The page.", "text/html")},
	})
}
