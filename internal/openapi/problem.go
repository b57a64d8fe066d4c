package openapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/problem"
)

// problemKind describes the problems with one code.
type problemKind struct {
	code        string
	statuses    []int
	description string
	members     map[string]*huma.Schema // in addition to those of all problems
	optional    []string                // names of members that can be absent
}

// pointsSchema describes a whole number of points.
func pointsSchema(description string) *huma.Schema {
	s := Integer(0, maxPoints, nil)
	s.Description = description
	return s
}

const maxPoints = 9007199254740991

// retryMember is a member of problems within the answer to a batch. Other answers have the header.
var retryMember = map[string]*huma.Schema{"retryAfterSeconds": {
	Type:        huma.TypeInteger,
	Description: "Only in the results of a batch: the time to wait before a retry.",
}}

// problemKinds has each code of the HTTP APIs.
var problemKinds = []problemKind{
	{code: "invalid_request", statuses: []int{400}, description: "The request is malformed.",
		members: map[string]*huma.Schema{"errors": {
			Type:        huma.TypeArray,
			Description: "The malformed fields.",
			Items:       &huma.Schema{Ref: schemaPrefix + "Field"},
		}}},
	{code: "unauthorized", statuses: []int{401}, description: "The token is missing or invalid."},
	{code: "insufficient_funds", statuses: []int{402}, description: "The account has too few points.",
		members: map[string]*huma.Schema{
			"account":          Text(""),
			"accountId":        Text(""),
			"accountType":      Choice("user", "model"),
			"availableBalance": pointsSchema("The points of a user. Absent for a model."),
			"earnedBalance":    pointsSchema("The points of a model. Absent for a user."),
			"requestedAmount":  pointsSchema("The points of the request."),
		},
		optional: []string{"availableBalance", "earnedBalance"}},
	{code: "forbidden", statuses: []int{403}, description: "The token does not allow this call."},
	{code: "not_found", statuses: []int{404}, description: "The path is unknown."},
	{code: "account_not_found", statuses: []int{404}, description: "The account has no events."},
	{code: "escrow_not_found", statuses: []int{404}, description: "There is no escrow with this id."},
	{code: "transaction_not_found", statuses: []int{404}, description: "There is no transaction with this id."},
	{code: "dead_letter_not_found", statuses: []int{404}, description: "There is no dead letter with this id."},
	{code: "method_not_allowed", statuses: []int{405}, description: "The path has other methods."},
	{code: "escrow_already_processed", statuses: []int{409}, description: "The escrow is closed.",
		members: map[string]*huma.Schema{
			"escrowStatus": Choice("settled", "refunded", "partially_settled"),
		}},
	{code: "history_changed", statuses: []int{409}, description: "The ledger went back to an earlier time.",
		members: map[string]*huma.Schema{
			"next":  Text(""),
			"since": Formatted("date-time"),
		}},
	{code: "reconcile_running", statuses: []int{409}, description: "Another reconciliation is running."},
	{code: "request_too_large", statuses: []int{413}, description: "The body or its metadata is too large."},
	{code: "idempotency_key_reused", statuses: []int{422}, description: "The key was used for another request."},
	{code: "amount_mismatch", statuses: []int{422}, description: "The amount is not the escrow's amount.",
		members: map[string]*huma.Schema{
			"escrowAmount":    pointsSchema("The points of the escrow."),
			"requestedAmount": pointsSchema("The points of the request."),
		}},
	{code: "upgrade_required", statuses: []int{426}, description: "The request is not a WebSocket handshake."},
	{code: "internal", statuses: []int{500}, description: "The server has a bug. Its log has the cause."},
	{code: "overloaded", statuses: []int{503, 429}, description: "Nothing was done. Try again later.",
		members: retryMember, optional: []string{"retryAfterSeconds"}},
	{code: "unavailable", statuses: []int{503}, description: "The request may or may not have been done. Try again later.",
		members: retryMember, optional: []string{"retryAfterSeconds"}},
}

func findProblemKind(code string) *problemKind {
	for i := range problemKinds {
		if problemKinds[i].code == code {
			return &problemKinds[i]
		}
	}
	panic("openapi: problemKinds must have the code " + code)
}

// Problem returns the answer with a status and one of the codes. shared are the headers of all
// answers of the document, and more those of the answers of one call. Without the latter, the answer
// is a reference to a component.
func (d *Document) Problem(status int, shared, more map[string]Param, codes ...string) *huma.Response {
	var name strings.Builder
	texts := make([]string, len(codes))
	for i, code := range codes {
		kind := findProblemKind(code)
		if !slices.Contains(kind.statuses, status) {
			panic(fmt.Sprintf("openapi: the code %s must have the status %d in problemKinds", code, status))
		}
		name.WriteString(CamelCase(code))
		texts[i] = "`" + code + "`: " + kind.description
	}

	headers := problemHeaders(status)
	maps.Copy(headers, shared)
	maps.Copy(headers, more)
	response := &huma.Response{
		Description: strings.Join(texts, "\n\n"),
		Headers:     headers,
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: d.ProblemSchema(codes...)}},
	}
	if len(more) > 0 {
		return response
	}
	name.WriteString(strconv.Itoa(status))
	d.Components.Responses[name.String()] = response
	return &huma.Response{Ref: responsePrefix + name.String()}
}

// problemHeaders describes the headers that each problem with the status has.
func problemHeaders(status int) map[string]Param {
	switch status {
	case http.StatusUnauthorized:
		return map[string]Param{"WWW-Authenticate": RequiredHeader(
			"The scheme Bearer, and error=\"invalid_token\" for an invalid token.", Text("^Bearer"))}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return map[string]Param{"Retry-After": RequiredHeader(
			"The time to wait before a retry, in seconds.", Integer(1, 3600, nil))}
	}
	return map[string]Param{}
}

// ProblemSchema returns the schema of a problem with one of the codes. With several codes it is a
// union that code discriminates.
func (d *Document) ProblemSchema(codes ...string) *huma.Schema {
	if len(codes) == 1 {
		return d.problemOfCode(codes[0])
	}

	problems := map[string]*huma.Schema{}
	for _, code := range codes {
		problems[code] = d.problemOfCode(code)
	}
	return Union("code", problems)
}

// problemOfCode returns a reference to the schema of the problems with a code.
func (d *Document) problemOfCode(code string) *huma.Schema {
	kind := findProblemKind(code)
	statuses := make([]any, len(kind.statuses))
	for i, status := range kind.statuses {
		statuses[i] = status
	}

	schema := &huma.Schema{
		Type:        huma.TypeObject,
		Description: kind.description,
		Properties: map[string]*huma.Schema{
			"type":   {Type: huma.TypeString, Enum: []any{problem.TypePrefix + code}, Description: "A URN that ends in the code."},
			"title":  {Type: huma.TypeString, Description: "The kind of problem for people."},
			"status": {Type: huma.TypeInteger, Enum: statuses, Description: "The HTTP status."},
			"detail": {Type: huma.TypeString, Description: "The explanation of this occurrence."},
			"code":   {Type: huma.TypeString, Enum: []any{code}, Description: "The kind of problem for programs."},
		},
		Required: []string{"type", "title", "status", "detail", "code"},
	}
	for _, name := range sortedKeys(kind.members) {
		schema.Properties[name] = kind.members[name]
		if !slices.Contains(kind.optional, name) {
			schema.Required = append(schema.Required, name)
		}
	}
	if code == "invalid_request" {
		d.SchemaOf(problem.Field{})
	}
	return d.NameSchema(CamelCase(code)+"Problem", schema)
}

// CamelCase returns AccountNotFound for account_not_found.
func CamelCase(code string) string {
	words := strings.Split(code, "_")
	for i, word := range words {
		words[i] = strings.ToUpper(word[:1]) + word[1:]
	}
	return strings.Join(words, "")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
