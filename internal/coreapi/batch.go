package coreapi

import (
	"net/http"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxOperations is the maximum number of operations in a batch.
const maxOperations = 1000

// decodedBatch is the body of a batch. batchBody describes it in the OpenAPI document.
type decodedBatch struct {
	Operations batchItems `json:"operations"`
}

// batchItem is one operation. It has the body fields of the operation's single call, and the
// parameters of that call's path and headers.
type batchItem struct {
	Operation        string `json:"operation"`
	IdempotencyKey   string `json:"idempotencyKey"`
	Account          string `json:"account,omitempty"`
	EscrowID         string `json:"escrowId,omitempty"`
	ModelID          string `json:"modelId,omitempty"`
	Amount           int64  `json:"amount,omitempty"`
	RefundAmount     int64  `json:"refundAmount,omitempty"`
	SettleAmount     int64  `json:"settleAmount,omitempty"`
	Reason           string `json:"reason"`
	QueueItemID      string `json:"queueItemId,omitempty"`
	FeatureType      string `json:"featureType,omitempty"`
	ExpiresInSeconds *int64 `json:"expiresInSeconds,omitempty"`
	Metadata         object `json:"metadata,omitempty"`
	CorrelationID    string `json:"correlationId,omitempty"`
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

	var body decodedBatch
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
