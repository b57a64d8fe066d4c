package client_test

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// openAPI is what the tests need of docs/openapi.json.
type openAPI struct {
	Paths      map[string]map[string]openAPIOperation `json:"paths"`
	Components struct {
		Schemas map[string]openAPISchema `json:"schemas"`
	} `json:"components"`
}

type openAPIOperation struct {
	Tags []string `json:"tags"`
}

type openAPISchema struct {
	Ref        string                   `json:"$ref"`
	Type       string                   `json:"type"`
	Format     string                   `json:"format"`
	Enum       []any                    `json:"enum"`
	Items      *openAPISchema           `json:"items"`
	Properties map[string]openAPISchema `json:"properties"`
	OneOf      []openAPISchema          `json:"oneOf"`
}

// members returns the members of the schema, and those of all of its alternatives.
func (d openAPI) members(schema openAPISchema) map[string]openAPISchema {
	members := maps.Clone(schema.Properties)
	if members == nil {
		members = map[string]openAPISchema{}
	}
	for _, alternative := range schema.OneOf {
		maps.Copy(members, d.members(d.resolve(alternative)))
	}
	return members
}

// resolve returns the schema to which a reference leads. Objects and unions keep their names.
func (d openAPI) resolve(schema openAPISchema) openAPISchema {
	for schema.Ref != "" {
		schema = d.Components.Schemas[refName(schema.Ref)]
	}
	return schema
}

func refName(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

func readOpenAPI(t *testing.T) openAPI {
	t.Helper()
	raw, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document openAPI
	err = json.Unmarshal(raw, &document)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func TestAnswersMatchOpenAPI(t *testing.T) {
	document := readOpenAPI(t)
	for name, value := range map[string]any{
		"Balance":      client.Balance{},
		"BatchResult":  client.BatchResult{},
		"Entry":        client.Entry{},
		"Escrow":       client.Escrow{},
		"AccountEvent": client.LedgerEvent{},
		"Field":        client.FieldProblem{},
		"BatchProblem": client.Problem{},
		"Receipt":      client.Receipt{},
		"Transaction":  client.Transaction{},
		"AllEvents":    client.AllEventsPage{},
		"StreamEvent":  client.StreamEvent{},
	} {
		t.Run(name, func(t *testing.T) {
			schema, ok := document.Components.Schemas[name]
			if !ok {
				t.Fatal("the document does not have the schema")
			}
			got := jsonMembers(reflect.TypeOf(value))
			members := document.members(schema)
			if name == "BatchProblem" { // a Problem is also that of a query
				maps.Copy(members, document.members(document.Components.Schemas["HistoryChangedProblem"]))
			}
			for member, property := range members {
				kind, ok := got[member]
				if !ok {
					t.Errorf("%s is missing in the Go type", member)
				} else if want := document.kind(property); kind != want {
					t.Errorf("%s: the Go type has a %s, the document a %s", member, kind, want)
				}
			}
			for member := range got {
				if _, ok := members[member]; !ok {
					t.Errorf("%s is missing in the document", member)
				}
			}
		})
	}
}

// goNames are the names of the Go types of schemas that have another name.
var goNames = map[string]string{"BatchProblem": "Problem", "Event": "object"}

// kind names the type of a schema.
func (d openAPI) kind(schema openAPISchema) string {
	resolved := d.resolve(schema)
	isObject := resolved.Type == "object" || len(resolved.OneOf) > 0
	switch {
	case schema.Ref != "" && isObject:
		name := refName(schema.Ref)
		return cmp.Or(goNames[name], name)
	case resolved.Type == "array":
		return "array of " + d.kind(*resolved.Items)
	case resolved.Format == "date-time":
		return "time"
	}
	return resolved.Type
}

// jsonMembers returns the kinds of a struct's JSON members.
func jsonMembers(structType reflect.Type) map[string]string {
	members := map[string]string{}
	for _, field := range reflect.VisibleFields(structType) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			members[name] = kindOf(field.Type)
		}
	}
	return members
}

func kindOf(goType reflect.Type) string {
	if goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	switch {
	case goType == reflect.TypeFor[time.Time]():
		return "time"
	case goType == reflect.TypeFor[json.RawMessage]():
		return "object"
	case goType == reflect.TypeFor[client.FieldProblem]():
		return "Field"
	}
	switch goType.Kind() {
	case reflect.Slice:
		return "array of " + kindOf(goType.Elem())
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Bool:
		return "boolean"
	case reflect.Struct:
		return goType.Name()
	}
	return goType.Kind().String()
}

// fullOperations has each operation with all of its fields, by the name of its body in the document.
var fullOperations = map[string]client.Operation{
	"CreditRequest": client.Credit{
		Account: "user:u1", Amount: 1, Reason: "r", IdempotencyKey: "k", CorrelationID: "c", Metadata: map[string]any{},
	},
	"HoldRequest": client.Hold{
		Account: "user:u1", Amount: 1, Reason: "r", QueueItemID: "q", FeatureType: "f", ExpiresIn: time.Hour,
		IdempotencyKey: "k", CorrelationID: "c", Metadata: map[string]any{},
	},
	"SettleRequest": client.Settle{
		EscrowID: "e1", ModelID: "m1", Amount: 1, Reason: "r", QueueItemID: "q",
		IdempotencyKey: "k", CorrelationID: "c", Metadata: map[string]any{},
	},
	"RefundRequest": client.Refund{
		EscrowID: "e1", Amount: 1, Reason: "r", QueueItemID: "q",
		IdempotencyKey: "k", CorrelationID: "c", Metadata: map[string]any{},
	},
	"PartialSettleRequest": client.PartialSettle{
		EscrowID: "e1", ModelID: "m1", RefundAmount: 1, SettleAmount: 1, Reason: "r", QueueItemID: "q",
		IdempotencyKey: "k", CorrelationID: "c", Metadata: map[string]any{},
	},
}

// recorder is a transport that keeps the requests and answers 404.
type recorder struct {
	calls  map[string]bool // such as GET /v1/escrows/{id}
	bodies [][]byte
}

var pathID = regexp.MustCompile(`(accounts|escrows|transactions)/[^/]+`)

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.calls[request.Method+" "+pathID.ReplaceAllString(request.URL.Path, "$1/{id}")] = true
	var body []byte
	if request.Body != nil {
		body, _ = io.ReadAll(request.Body)
	}
	r.bodies = append(r.bodies, body)
	return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody}, nil
}

func newRecorder(t *testing.T) (*client.Ledger, *recorder) {
	t.Helper()
	r := &recorder{calls: map[string]bool{}}
	return newLedger(t, "http://core", client.LedgerConfig{HTTPClient: &http.Client{Transport: r}}), r
}

func TestRequestsMatchOpenAPI(t *testing.T) {
	document := readOpenAPI(t)
	schemas := document.Components.Schemas
	ledger, r := newRecorder(t)
	for name, operation := range fullOperations {
		_, err := ledger.Do(t.Context(), operation)
		checkContains(t, err, "404")
		want := sortedKeys(schemas[name].Properties)
		checkEqual(t, "members of "+name, strings.Join(memberNames(t, r.bodies[len(r.bodies)-1]), " "), strings.Join(want, " "))

		_, _ = ledger.Batch(t.Context(), []client.Operation{operation}) // the answer is a 404
		var batch struct{ Operations []json.RawMessage }
		err = json.Unmarshal(r.bodies[len(r.bodies)-1], &batch)
		if err != nil {
			t.Fatal(err)
		}
		got := memberNames(t, batch.Operations[0])
		want = sortedKeys(schemas["Batch"+name].Properties)
		checkEqual(t, "members of Batch"+name, strings.Join(got, " "), strings.Join(want, " "))
	}
}

func memberNames(t *testing.T, object []byte) []string {
	t.Helper()
	var members map[string]json.RawMessage
	err := json.Unmarshal(object, &members)
	if err != nil {
		t.Fatalf("decode %s: %v", object, err)
	}
	return sortedKeys(members)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// The client has a method for each call of the document.
func TestLedgerCallsWholeAPI(t *testing.T) {
	ledger, r := newRecorder(t)
	ctx := t.Context()
	for _, operation := range fullOperations {
		_, _ = ledger.Do(ctx, operation) // the recorder answers 404 to everything
	}
	_, _ = ledger.Debit(ctx, client.Debit{Account: "user:u1"})
	_, _ = ledger.Batch(ctx, []client.Operation{credit("user:u1", 1)})
	_, _ = ledger.Balance(ctx, "user:u1")
	_, _ = ledger.Escrow(ctx, "e1")
	_, _ = ledger.Transaction(ctx, "t1")
	for _, err := range ledger.Entries(ctx, "user:u1", client.EntriesFilter{}) {
		checkContains(t, err, "404")
	}
	for _, err := range ledger.Escrows(ctx, "user:u1", client.EscrowsFilter{}) {
		checkContains(t, err, "404")
	}
	for _, err := range ledger.Events(ctx, "user:u1", 0) {
		checkContains(t, err, "404")
	}
	for _, err := range ledger.AllEvents(ctx, client.AllEventsFilter{}) {
		checkContains(t, err, "404")
	}

	var want []string
	parameter := regexp.MustCompile(`\{\w+\}`)
	for path, methods := range readOpenAPI(t).Paths {
		for method, operation := range methods {
			if slices.Contains(operation.Tags, "Documents") {
				continue
			}
			want = append(want, strings.ToUpper(method)+" "+parameter.ReplaceAllString(path, "{id}"))
		}
	}
	slices.Sort(want)
	checkEqual(t, "calls", strings.Join(sortedKeys(r.calls), "\n"), strings.Join(want, "\n"))
}

// Each code of the document has a constant, and each constant is used by the core.
func TestErrorCodesMatchOpenAPI(t *testing.T) {
	inDocument := map[string]bool{}
	for name, schema := range readOpenAPI(t).Components.Schemas {
		if !strings.HasSuffix(name, "Problem") {
			continue
		}
		for _, code := range schema.Properties["code"].Enum {
			inDocument[code.(string)] = true
		}
	}
	want := []client.ErrorCode{
		client.ErrInvalidRequest, client.ErrUnauthorized, client.ErrForbidden, client.ErrInsufficientFunds,
		client.ErrAccountNotFound, client.ErrEscrowNotFound, client.ErrTransactionNotFound,
		client.ErrEscrowAlreadyProcessed, client.ErrHistoryChanged, client.ErrIdempotencyKeyReused, client.ErrAmountMismatch,
		client.ErrRequestTooLarge, client.ErrOverloaded, client.ErrUnavailable, client.ErrInternal,
	}
	constants := map[string]bool{}
	for _, c := range want {
		constants[string(c)] = true
	}
	checkEqual(t, "codes", strings.Join(sortedKeys(inDocument), " "), strings.Join(sortedKeys(constants), " "))
}
