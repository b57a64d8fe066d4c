package coreapi

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxOperations is the maximum number of operations in a batch.
const maxOperations = 1000

// batchBody is the body of a batch.
type batchBody struct {
	Operations batchItems `json:"operations" nullable:"false" minItems:"1" maxItems:"1000" doc:"Operations on one account are committed in this order."`
}

// batchItem is one operation. It has the body fields of the operation's single call, and the
// parameters of that call's path and headers.
type batchItem struct {
	Operation        string `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	IdempotencyKey   string `json:"idempotencyKey" pattern:"^[!-~]{1,255}$" example:"order-4711-hold" doc:"The key of this operation. It has the same meaning and the same scope as the Idempotency-Key header of a single call."`
	Account          string `json:"account,omitempty" example:"user:u1" doc:"For credit, debit and hold."`
	EscrowID         string `json:"escrowId,omitempty" format:"uuid" doc:"For settle, refund and partial_settle."`
	ModelID          string `json:"modelId,omitempty" example:"m1" doc:"For settle and partial_settle: the bare <id>, or model:<id>. Both are the same request."`
	Amount           int64  `json:"amount,omitempty" minimum:"1" maximum:"9007199254740991" example:"100" doc:"For all operations except partial_settle."`
	RefundAmount     int64  `json:"refundAmount,omitempty" minimum:"1" maximum:"9007199254740991" doc:"For partial_settle."`
	SettleAmount     int64  `json:"settleAmount,omitempty" minimum:"1" maximum:"9007199254740991" doc:"For partial_settle."`
	Reason           string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"chip_menu_purchase"`
	QueueItemID      string `json:"queueItemId,omitempty" minLength:"1" maxLength:"255" example:"queue-1" doc:"For hold, settle, refund and partial_settle."`
	FeatureType      string `json:"featureType,omitempty" minLength:"1" maxLength:"64" example:"chip_menu" doc:"For hold."`
	ExpiresInSeconds *int64 `json:"expiresInSeconds,omitempty" minimum:"1" maximum:"31536000" doc:"For hold."`
	Metadata         object `json:"metadata,omitempty" doc:"Any JSON object of at most 8 KiB that nests at most 16 levels deep."`
	CorrelationID    string `json:"correlationId,omitempty" maxLength:"255" doc:"Your own reference for the operation. The default is the traceparent header."`
}

// batchItems is a list of operations. Decoding stops after maxOperations operations, because a body
// of many empty objects would need a hundred times its size in memory.
type batchItems []batchItem

const detailOperations = "must be a list of 1 to 1000 operations"

// UnmarshalJSONFrom decodes the list.
func (items *batchItems) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '[' {
		return invalidField("/operations", detailOperations)
	}

	for kind := dec.PeekKind(); kind != ']'; kind = dec.PeekKind() {
		if len(*items) == maxOperations {
			return invalidField("/operations", detailOperations)
		}
		if kind == 'n' { // the decoder would treat null like {}
			return invalidField("/operations/"+strconv.Itoa(len(*items)), "must be a JSON object")
		}

		*items = append(*items, batchItem{})
		err := jsonv2.UnmarshalDecode(dec, &(*items)[len(*items)-1])
		if err != nil {
			return err
		}
	}
	_, err = dec.ReadToken()
	return err
}

// runBatch serves POST /v1/batch. It passes all operations to group commit at once. A body that
// cannot be decoded is refused as a whole. Otherwise each operation succeeds or fails on its own.
func runBatch(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}

	_, err = c.readQuery()
	if err != nil {
		return err
	}
	origin, err := c.readOrigin()
	if err != nil {
		return err
	}
	err = validateOrigin(origin)
	if err != nil {
		return err
	}

	var body batchBody
	err = c.decodeBody(&body)
	if err != nil {
		return err
	}
	if len(body.Operations) == 0 {
		return invalidField("/operations", detailOperations)
	}

	results := c.commitBatch(origin, body.Operations)

	answer, err := c.appendResults(c.newBody(), results)
	if err != nil {
		return err
	}
	c.writeBody(http.StatusOK, answer)
	return nil
}

// commitBatch passes the valid items to the ledger. It returns one result for each item.
func (c *call) commitBatch(origin origin, items []batchItem) []wallet.Result {
	ctx, cancel := c.commitContext()
	defer cancel()
	common := wallet.Op{
		RequestID:   origin.requestID,
		TraceParent: origin.traceParent,
	}
	ctx, span := c.startCommitSpan(ctx, &common, len(items))
	defer endCommitSpan(span, nil) // each operation has its own error

	results := make([]wallet.Result, len(items))
	ops := make([]wallet.Op, 0, len(items))
	for i := range items {
		op := common
		results[i].Err = c.prepareItem(&items[i], &op)
		if results[i].Err == nil {
			ops = append(ops, op)
		}
	}
	if len(ops) == 0 {
		return results
	}

	committed := c.api.ledger.DoBatch(ctx, ops)
	for i := range results {
		if results[i].Err == nil {
			results[i] = committed[0]
			committed = committed[1:]
		}
	}
	return results
}

// prepareItem checks that the token has the scope of the item's operation, and sets the fields of
// op. The ledger validates the operation.
func (c *call) prepareItem(item *batchItem, op *wallet.Op) error {
	op.Operation = wallet.Operation(item.Operation)
	scope, _, ok := scopeAndStatus(op.Operation)
	if ok {
		err := c.requireScope(scope)
		if err != nil {
			return err
		}
	}

	if item.EscrowID != "" {
		id, ok := parseUUID(item.EscrowID)
		if !ok || id == uuid.Nil {
			return invalidField("/escrowId", detailEscrowID)
		}
		op.EscrowID = id
	}

	op.IdempotencyKey = item.IdempotencyKey
	op.Account = wallet.Account(item.Account)
	op.Model = modelAccount(item.ModelID)
	op.Amount = item.Amount
	op.RefundAmount = item.RefundAmount
	op.SettleAmount = item.SettleAmount
	op.Reason = item.Reason
	op.QueueItemID = item.QueueItemID
	op.FeatureType = item.FeatureType
	op.ExpiresIn = holdDuration(item.ExpiresInSeconds)
	op.Metadata = item.Metadata.rawJSON()
	op.CorrelationID = item.CorrelationID
	return nil
}

// scopeAndStatus returns the scope of an operation and the status of its single call.
func scopeAndStatus(op wallet.Operation) (scope string, status int, ok bool) {
	switch op {
	case wallet.OpCredit:
		return auth.ScopeCredit, http.StatusCreated, true
	case wallet.OpDebit:
		return auth.ScopeDebit, http.StatusCreated, true
	case wallet.OpHold:
		return auth.ScopeHold, http.StatusCreated, true
	case wallet.OpSettle, wallet.OpRefund, wallet.OpPartialSettle:
		return auth.ScopeSettle, http.StatusOK, true
	}
	return "", 0, false
}

// appendResults appends the answer to a batch.
func (c *call) appendResults(b []byte, results []wallet.Result) ([]byte, error) {
	b = append(b, `{"results":[`...)
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}

		var err error
		b, err = c.appendResult(b, i, &results[i])
		if err != nil {
			return nil, err
		}
	}
	return append(b, `]}`...), nil
}

// appendResult appends the result of operation i.
func (c *call) appendResult(b []byte, i int, result *wallet.Result) ([]byte, error) {
	if result.Err != nil {
		return c.appendRefusal(b, i, result.Err)
	}

	_, status, _ := scopeAndStatus(result.Receipt.Operation)
	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"receipt":`...)
	b = result.Receipt.AppendJSON(b)
	if result.Receipt.Replayed {
		b = append(b, `,"replayed":true`...)
	}
	return append(b, '}'), nil
}

// appendRefusal appends the problem of operation i. Its pointers are relative to the batch body.
func (c *call) appendRefusal(b []byte, i int, err error) ([]byte, error) {
	details := c.describeError(err)
	if len(details.Errors) > 0 {
		item := "/operations/" + strconv.Itoa(i)
		for j := range details.Errors {
			details.Errors[j].Pointer = item + details.Errors[j].Pointer
		}
		details.Detail = joinPointer(details.Errors[0])
	}
	if details.RetryAfter > 0 {
		if details.Extra == nil {
			details.Extra = make(map[string]any)
		}
		details.Extra["retryAfterSeconds"] = details.RetryAfter
	}

	text, err := details.MarshalJSON()
	if err != nil {
		return b, err
	}

	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(details.Status), 10)
	b = append(b, `,"problem":`...)
	b = append(b, text...)
	return append(b, '}'), nil
}

// batchResultShape describes a result in the OpenAPI document.
type batchResultShape struct {
	Status   int              `json:"status" example:"201" doc:"The status that the single call of this operation would return."`
	Receipt  *receiptShape    `json:"receipt,omitempty" doc:"Present if the operation was committed."`
	Problem  *problem.Details `json:"problem,omitempty" doc:"Present if the operation was not committed. Its pointers are relative to the body of the batch. The codes overloaded and unavailable come with retryAfterSeconds."`
	Replayed bool             `json:"replayed,omitempty" doc:"true if the key was used before. The receipt is the first one."`
}

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
	op := huma.Operation{
		OperationID: "batch",
		Method:      http.MethodPost,
		Path:        "/v1/batch",
		Tags:        []string{"Operations"},
		Summary:     "Commit up to 1000 operations, each on its own",
		Description: batchDescription,
		Security:    []map[string][]string{{"token": {}}},
		Parameters:  []param{requestIDParam, traceParam},
		RequestBody: d.describeBody(batchBody{}),
	}

	headers := map[string]*huma.Param{"X-Request-Id": requestIDHeader()}
	refusals := []int{http.StatusRequestEntityTooLarge}
	op.Responses = d.describeResponses(http.StatusOK, "A result for each operation", batchAnswerShape{}, headers, refusals)
	delete(op.Responses, strconv.Itoa(http.StatusForbidden))
	return op
}
