package coreapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxOperations is how many operations one batch may have.
const maxOperations = 1000

type batchBody struct {
	Operations batchItems `json:"operations" nullable:"false" minItems:"1" maxItems:"1000" doc:"Done in this order for each account."`
}

// batchItem is a request of any kind: the fields of its operation's own call,
// and what that call has in its path and its headers.
type batchItem struct {
	Operation        string `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	IdempotencyKey   string `json:"idempotencyKey" pattern:"^[!-~]{1,255}$" example:"order-4711-hold" doc:"Names this operation, as the header Idempotency-Key does in the single calls; the two share their keys."`
	Account          string `json:"account,omitempty" example:"user:u1" doc:"Of credit, debit, hold."`
	EscrowID         string `json:"escrowId,omitempty" format:"uuid" doc:"Of settle, refund, partial_settle."`
	ModelID          string `json:"modelId,omitempty" example:"model:m1" doc:"Of settle, partial_settle: model:<id>, or the bare <id>."`
	Amount           int64  `json:"amount,omitempty" minimum:"1" maximum:"9007199254740991" example:"100" doc:"Of all but partial_settle."`
	RefundAmount     int64  `json:"refundAmount,omitempty" minimum:"1" maximum:"9007199254740991" doc:"Of partial_settle."`
	SettleAmount     int64  `json:"settleAmount,omitempty" minimum:"1" maximum:"9007199254740991" doc:"Of partial_settle."`
	Reason           string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"chip_menu_purchase"`
	QueueItemID      string `json:"queueItemId,omitempty" minLength:"1" maxLength:"255" example:"queue-1" doc:"Of hold, settle, refund, partial_settle."`
	FeatureType      string `json:"featureType,omitempty" minLength:"1" maxLength:"64" example:"chip_menu" doc:"Of hold."`
	ExpiresInSeconds *int64 `json:"expiresInSeconds,omitempty" minimum:"1" maximum:"31536000" doc:"Of hold."`
	Metadata         object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB."`
	CorrelationID    string `json:"correlationId,omitempty" maxLength:"255" doc:"When absent, the header traceparent stands in."`
}

// batchItems stops reading at one item too many: a body of empty objects would
// else become a hundred times its size.
type batchItems []batchItem

// UnmarshalJSONFrom reads a list.
func (items *batchItems) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	t, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() != '[' {
		return malformed("/operations", "is a list of 1 to 1000 operations")
	}
	for kind := dec.PeekKind(); kind != ']'; kind = dec.PeekKind() {
		if len(*items) == maxOperations {
			return malformed("/operations", "has more than 1000 operations")
		}
		if kind == 'n' { // would be taken for {}
			return malformed("/operations/"+strconv.Itoa(len(*items)), "is a JSON object")
		}
		*items = append(*items, batchItem{})
		if err := json.UnmarshalDecode(dec, &(*items)[len(*items)-1]); err != nil {
			return err
		}
	}
	_, err = dec.ReadToken()
	return err
}

// authority is what an operation's own call needs, and its status.
func authority(op wallet.Operation) (scope string, status int, ok bool) {
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

// batch does many operations in one trip through group commit. What cannot be
// understood is refused as a whole; what is understood stands or falls alone.
func batch(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	var from wallet.Op
	if err := c.origin(&from); err != nil {
		return err
	}
	if err := sound(&from); err != nil {
		return err
	}
	var body batchBody
	if err := c.api.bodies.decode(c.r, &body); err != nil {
		return err
	}
	items := body.Operations
	if len(items) == 0 {
		return malformed("/operations", "is a list of 1 to 1000 operations")
	}
	ctx, cancel := c.commitContext()
	defer cancel()
	ctx, span := c.commit(ctx, &from, len(items))
	refusals := make([]error, len(items))
	ops := make([]wallet.Op, 0, len(items))
	for i := range items {
		op := wallet.Op{RequestID: from.RequestID, TraceParent: from.TraceParent, Trace: from.Trace}
		if refusals[i] = c.item(&items[i], &op); refusals[i] == nil {
			ops = append(ops, op)
		}
	}
	var results []wallet.Result
	if len(ops) > 0 {
		results = c.api.ledger.DoBatch(ctx, ops)
	}
	committed(span, nil) // each operation has its own result
	out := append(make([]byte, 0, 512*len(items)), `{"results":[`...)
	for i := range items {
		if i > 0 {
			out = append(out, ',')
		}
		err := refusals[i]
		var receipt *wallet.Receipt
		if err == nil {
			receipt, err, results = &results[0].Receipt, results[0].Err, results[1:]
		}
		if err == nil {
			out = appendDone(out, receipt)
			continue
		}
		var failed error
		if out, failed = c.appendRefused(out, i, err); failed != nil {
			return failed
		}
	}
	c.answer(http.StatusOK, append(out, `]}`...))
	return nil
}

// item checks the bearer's right to one operation, and fills it in.
func (c *call) item(b *batchItem, op *wallet.Op) error {
	op.Operation = wallet.Operation(b.Operation)
	if scope, _, ok := authority(op.Operation); ok {
		if err := c.require(scope); err != nil {
			return err
		}
	}
	if b.EscrowID != "" {
		id, ok := parseUUID(b.EscrowID)
		if !ok || id == uuid.Nil {
			return malformed("/escrowId", "an escrow is named by its UUID")
		}
		op.EscrowID = id
	}
	op.IdempotencyKey, op.Account, op.Model = b.IdempotencyKey, wallet.Account(b.Account), model(b.ModelID)
	op.Amount, op.RefundAmount, op.SettleAmount = b.Amount, b.RefundAmount, b.SettleAmount
	op.Reason, op.QueueItemID, op.FeatureType = b.Reason, b.QueueItemID, b.FeatureType
	if b.ExpiresInSeconds != nil {
		op.ExpiresIn = seconds(*b.ExpiresInSeconds)
	}
	common(op, b.Metadata, b.CorrelationID)
	return nil
}

func appendDone(b []byte, r *wallet.Receipt) []byte {
	_, status, _ := authority(r.Operation)
	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"receipt":`...)
	b = appendReceipt(b, r)
	if r.Replayed {
		b = append(b, `,"replayed":true`...)
	}
	return append(b, '}')
}

// appendRefused writes the problem of item i. Its pointers start at the body.
func (c *call) appendRefused(b []byte, i int, err error) ([]byte, error) {
	d := c.problem(err)
	if len(d.Errors) > 0 {
		place := "/operations/" + strconv.Itoa(i)
		for j := range d.Errors {
			d.Errors[j].Pointer = place + d.Errors[j].Pointer
		}
		d.Detail = join(d.Errors[0].Pointer, d.Errors[0].Detail)
	}
	if d.RetryAfter > 0 {
		if d.Extra == nil {
			d.Extra = make(map[string]any)
		}
		d.Extra["retryAfterSeconds"] = d.RetryAfter
	}
	text, err := d.MarshalJSON()
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, `{"status":%d,"problem":`, d.Status)
	return append(append(b, text...), '}'), nil
}

// The following describe, in the OpenAPI document, what is written above.

type batchResultShape struct {
	Status   int              `json:"status" example:"201" doc:"What the operation's own call would have answered."`
	Receipt  *receiptShape    `json:"receipt,omitempty" doc:"When it was done."`
	Problem  *problem.Details `json:"problem,omitempty" doc:"When it was not. Its pointers lead into the body of the batch. overloaded and unavailable have retryAfterSeconds."`
	Replayed bool             `json:"replayed,omitempty" doc:"true when the key was used before: this is the first receipt again."`
}

type batchAnswerShape struct {
	Results []batchResultShape `json:"results" nullable:"false" doc:"One for each operation, in their order."`
}

const batchDescription = "Up to 1000 operations share one trip through the ledger's group commit: the fastest way to do many. " +
	"They are no transaction: each stands or falls alone, and the answer is 200 with a result for each, in order. " +
	"Operations on one account are done in their order.\n\n" +
	"What cannot be understood fails as a whole, with 400 and nothing done: a body that is no JSON, an unknown field, " +
	"a value of a wrong type, no operation or more than 1000. What is understood and wrong, such as an amount of 0 or a scope " +
	"that the token lacks, is a problem of that operation alone.\n\n" +
	"After no answer at all, send the same batch again: what was done is replayed, the rest is done now. Each operation has its " +
	"own key; a header Idempotency-Key means nothing here.\n\n" +
	"Each operation needs its own scope, as in its own call."

func (d describer) batch() huma.Operation {
	op := huma.Operation{
		OperationID: "batch", Method: http.MethodPost, Path: "/v1/batch", Tags: []string{"Operations"},
		Summary: "Do up to 1000 operations, each by itself", Description: batchDescription,
		Security:    []map[string][]string{{"token": {}}},
		Parameters:  []param{requestIDParam, traceParam},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: d.schema(batchBody{})}}},
	}
	op.Responses = d.answers(http.StatusOK, "A result for each operation", batchAnswerShape{}, map[string]*huma.Param{
		"X-Request-Id": {Description: "The request's id.", Schema: str("")},
	}, []int{http.StatusRequestEntityTooLarge})
	delete(op.Responses, strconv.Itoa(http.StatusForbidden))
	return op
}
