package coreapi

import (
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/openapi"
)

// batchBody describes the body of a batch in the OpenAPI document.
type batchBody struct {
	Operations []batchOperation `json:"operations" nullable:"false" minItems:"1" maxItems:"1000" doc:"Operations on one account are committed in this order."`
}

// batchOperation describes one operation: one of the batch…Body types, by its member operation.
type batchOperation struct{}

// Schema returns a reference to the component that describeBatch adds.
func (batchOperation) Schema(huma.Registry) *huma.Schema { return openapi.ReferTo("BatchedOperation") }

// describeBatchOperation returns a reference to the schema of an operation in a batch. It has the
// members of the single call's body, and the parameters of that call's path and headers.
func (d describer) describeBatchOperation(doc operationDoc, operation string) *huma.Schema {
	key := *keyParam.Schema
	key.Description = "The key of this operation. It has the same meaning and the same scope as " +
		"the Idempotency-Key header of a single call."
	key.Examples = []any{keyParam.Example}
	target := *doc.target.Schema
	target.Description = doc.target.Description
	target.Examples = []any{doc.target.Example}

	single := d.Component(d.SchemaOf(doc.body))
	schema := *single
	schema.Properties = map[string]*huma.Schema{
		"operation":      openapi.Choice(operation),
		"idempotencyKey": &key,
		doc.target.Name:  &target,
	}
	maps.Copy(schema.Properties, single.Properties)
	schema.Required = append([]string{"operation", "idempotencyKey", doc.target.Name}, single.Required...)
	return d.NameSchema("Batch"+openapi.CamelCase(operation)+"Request", &schema)
}

// batchResultShape describes a result in the OpenAPI document.
type batchResultShape struct {
	Status   int           `json:"status" enum:"200,201,400,402,403,404,409,413,422,500,503" doc:"The status that the single call of this operation would return."`
	Receipt  *receiptShape `json:"receipt,omitempty" doc:"Present if the operation was committed."`
	Problem  *batchProblem `json:"problem,omitempty"`
	Replayed bool          `json:"replayed,omitempty" doc:"true if the key was used before. The receipt is the first one."`
}

// batchProblem describes the problem of one operation.
type batchProblem struct{}

// Schema returns a reference to the component that describeBatch adds.
func (batchProblem) Schema(huma.Registry) *huma.Schema { return openapi.ReferTo("BatchProblem") }

// batchAnswerShape describes the answer in the OpenAPI document.
type batchAnswerShape struct {
	Results []batchResultShape `json:"results" nullable:"false" doc:"One result for each operation, in the same order."`
}

const batchDescription = "Up to 1000 operations share one group commit of the ledger. This is the fastest way to " +
	"run many operations. A batch is not a transaction: each operation succeeds or fails on " +
	"its own. The answer is 200 with one result for each operation, in order. Operations on " +
	"one account are committed in their order.\n\n" +
	"A batch that cannot be decoded fails as a whole, with 400, and nothing is committed. " +
	"This applies to invalid JSON, an unknown field, a value of a wrong type, an empty list " +
	"and a list of more than 1000 operations. An operation that can be decoded but is invalid " +
	"fails alone, for example for an amount of 0 or a scope that the token does not have.\n\n" +
	"If there was no answer, send the same batch again. Operations that were committed are " +
	"replayed, and the others are committed now. Each operation has its own key. The " +
	"Idempotency-Key header is ignored.\n\n" +
	"Each operation needs the scope of its single call."

// describeBatch describes the call in the OpenAPI document.
func (d describer) describeBatch() huma.Operation {
	operations := map[string]*huma.Schema{}
	for operation, doc := range map[string]operationDoc{
		"credit":         creditDoc,
		"debit":          debitDoc,
		"hold":           holdDoc,
		"settle":         settleDoc,
		"refund":         refundDoc,
		"partial_settle": partialSettleDoc,
	} {
		operations[operation] = d.describeBatchOperation(doc, operation)
	}
	d.NameSchema("BatchedOperation", openapi.Union("operation", operations))

	problems := d.ProblemSchema("invalid_request", "insufficient_funds", "forbidden", "account_not_found",
		"escrow_not_found", "escrow_already_processed", "request_too_large", "idempotency_key_reused",
		"amount_mismatch", "internal", "overloaded", "unavailable")
	problems.Description = "Present if the operation was not committed. Its pointers are relative to the body of the batch."
	d.NameSchema("BatchProblem", problems)

	op := huma.Operation{
		OperationID: "batch",
		Method:      http.MethodPost,
		Path:        "/v1/batch",
		Tags:        []string{"Operations"},
		Summary:     "Commit up to 1000 operations, each on its own",
		Description: batchDescription,
		Security:    openapi.RequireToken(),
		Parameters:  []param{requestIDParam, traceParam},
		RequestBody: d.JSONBody(batchBody{}),
	}
	op.Responses = d.describeRefusals(refusals{http.StatusRequestEntityTooLarge: {"request_too_large"}}, nil)
	headers := map[string]param{"X-Request-Id": requestIDHeader()}
	op.Responses["200"] = d.JSONAnswer("A result for each operation.", batchAnswerShape{}, headers)
	return op
}
