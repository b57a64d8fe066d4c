package client

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// request is an operation as an item of a batch. A single call has the same members, but for those
// that its path and its headers have.
type request struct {
	Operation      string `json:"operation"`
	IdempotencyKey string `json:"idempotencyKey"`
	Account        string `json:"account,omitempty"`
	EscrowID       string `json:"escrowId,omitempty"`
	requestBody
}

// requestBody has the members of an operation's body.
type requestBody struct {
	ModelID          string          `json:"modelId,omitempty"`
	Amount           *int64          `json:"amount,omitempty"`
	RefundAmount     *int64          `json:"refundAmount,omitempty"`
	SettleAmount     *int64          `json:"settleAmount,omitempty"`
	Reason           string          `json:"reason"`
	QueueItemID      string          `json:"queueItemId,omitempty"`
	FeatureType      string          `json:"featureType,omitempty"`
	ExpiresInSeconds *int64          `json:"expiresInSeconds,omitempty"`
	CorrelationID    string          `json:"correlationId,omitempty"`
	Metadata         json.RawMessage `json:"metadata,omitempty"`
}

// The kinds of operations, as in Receipt.Operation.
const (
	OperationCredit        = "credit"
	OperationDebit         = "debit"
	OperationHold          = "hold"
	OperationSettle        = "settle"
	OperationRefund        = "refund"
	OperationPartialSettle = "partial_settle"
)

// String names the operation in errors.
func (r *request) String() string {
	if r.Account != "" {
		return r.Operation + " on " + r.Account
	}
	return r.Operation + " of escrow " + r.EscrowID
}

// path returns the path of the operation's single call.
func (r *request) path() (string, error) {
	switch r.Operation {
	case OperationCredit, OperationDebit, OperationHold:
		if r.Account == "" {
			return "", fmt.Errorf("client: the Account of a %s must be set, such as user:u1", r.Operation)
		}
		return accountPath(r.Account, r.Operation+"s"), nil
	}
	if r.EscrowID == "" {
		return "", fmt.Errorf("client: the EscrowID of a %s must be set; the receipt of the hold has it", r.Operation)
	}
	action := r.Operation
	if action == OperationPartialSettle {
		action = "partial-settle"
	}
	return "/v1/escrows/" + url.PathEscape(r.EscrowID) + "/" + action, nil
}

func accountPath(account, list string) string {
	return "/v1/accounts/" + url.PathEscape(account) + "/" + list
}

func (op Credit) describe() (request, error) {
	r := request{Operation: OperationCredit, Account: op.Account}
	r.Amount = &op.Amount
	r.Reason = op.Reason
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

func (op Debit) describe() (request, error) {
	r := request{Operation: OperationDebit, Account: op.Account}
	r.Amount = &op.Amount
	r.Reason = op.Reason
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

func (op Hold) describe() (request, error) {
	r := request{Operation: OperationHold, Account: op.Account}
	r.Amount = &op.Amount
	r.Reason = op.Reason
	r.QueueItemID = op.QueueItemID
	r.FeatureType = op.FeatureType
	if op.ExpiresIn != 0 {
		seconds := int64(math.Ceil(op.ExpiresIn.Seconds()))
		r.ExpiresInSeconds = &seconds
	}
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

func (op Settle) describe() (request, error) {
	r := request{Operation: OperationSettle, EscrowID: op.EscrowID}
	r.ModelID = op.ModelID
	r.Amount = &op.Amount
	r.Reason = op.Reason
	r.QueueItemID = op.QueueItemID
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

func (op Refund) describe() (request, error) {
	r := request{Operation: OperationRefund, EscrowID: op.EscrowID}
	r.Amount = &op.Amount
	r.Reason = op.Reason
	r.QueueItemID = op.QueueItemID
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

func (op PartialSettle) describe() (request, error) {
	r := request{Operation: OperationPartialSettle, EscrowID: op.EscrowID}
	r.ModelID = op.ModelID
	r.RefundAmount = &op.RefundAmount
	r.SettleAmount = &op.SettleAmount
	r.Reason = op.Reason
	r.QueueItemID = op.QueueItemID
	return r.withOptions(op.IdempotencyKey, op.CorrelationID, op.Metadata)
}

// withOptions returns the request with the optional fields. The metadata is encoded once, because all
// attempts must send the same bytes.
func (r request) withOptions(key, correlationID string, metadata any) (request, error) {
	r.CorrelationID = correlationID
	r.IdempotencyKey = key
	if key == "" {
		random, err := uuid.NewRandom()
		if err != nil {
			return request{}, fmt.Errorf("client: make an idempotency key: %w", err)
		}
		r.IdempotencyKey = random.String()
	}
	if !isValidKey(r.IdempotencyKey) {
		return request{}, fmt.Errorf("client: IdempotencyKey must have 1 to 255 visible ASCII characters, got %.300q", key)
	}
	if metadata == nil {
		return r, nil
	}
	encoded, err := json.Marshal(metadata)
	if err != nil {
		return request{}, fmt.Errorf("client: encode the metadata: %w", err)
	}
	if encoded[0] != '{' {
		return request{}, fmt.Errorf("client: Metadata must give a JSON object, got %.40s", encoded)
	}
	r.Metadata = encoded
	return r, nil
}

// isValidKey reports whether a key has 1 to 255 visible ASCII characters.
func isValidKey(key string) bool {
	isOutside := func(c rune) bool { return c < '!' || c > '~' }
	return len(key) >= 1 && len(key) <= 255 && !strings.ContainsFunc(key, isOutside)
}
