package wallet

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Limits of an operation's text fields, in bytes.
const (
	MaxMetadata      = 8 << 10
	maxReason        = 64
	maxQueueItemID   = 255
	maxFeatureType   = 64
	maxCorrelationID = 255 // also of request ids and trace contexts
)

// maxExpiresIn is a year.
const maxExpiresIn = 31536000 * time.Second

// Check validates the operation without the state of the ledger. The error is an *InvalidError with
// all fields that are wrong, or ErrTooLarge.
func (op *Op) Validate() error {
	v := validator{}
	v.validateKey(op.IdempotencyKey)
	v.validateReason(op.Reason)
	v.validateText("/correlationId", op.CorrelationID, 0, maxCorrelationID)
	v.validateText("/requestId", op.RequestID, 0, maxCorrelationID)
	v.validateText("/traceparent", op.TraceParent, 0, maxCorrelationID)
	v.validateMetadata(op.Metadata)
	switch op.Operation {
	case OpCredit, OpDebit:
		v.validateCreditOrDebit(op)
	case OpHold:
		v.validateHold(op)
	case OpSettle, OpRefund, OpPartialSettle:
		v.validateClose(op)
	default:
		v.addProblem("/operation", "an operation must be credit, debit, hold, settle, refund or partial_settle")
	}

	v.validateExpiresIn(op)
	return v.toError()
}

// validator collects the fields that are wrong.
type validator struct {
	fields   []FieldError
	tooLarge bool
}

func (v *validator) addProblem(pointer, detail string) {
	v.fields = append(v.fields, FieldError{pointer, detail})
}

func (v *validator) toError() error {
	switch {
	case len(v.fields) > 0:
		return &InvalidError{Fields: v.fields}
	case v.tooLarge:
		return fmt.Errorf("%w: metadata must not exceed %d bytes", ErrTooLarge, MaxMetadata)
	}
	return nil
}

func (v *validator) validateCreditOrDebit(op *Op) {
	v.validateAccount("/account", op.Account)
	v.validateAmount("/amount", op.Amount)
	v.requireNoEscrowFields(op)
	v.requireEmpty("/queueItemId", op.QueueItemID)
	v.requireEmpty("/featureType", op.FeatureType)
}

func (v *validator) validateHold(op *Op) {
	v.validateAccount("/account", op.Account)
	if op.Account.IsModel() {
		v.addProblem("/account", "a hold's account must be a user")
	}
	v.validateAmount("/amount", op.Amount)
	v.requireNoEscrowFields(op)
	v.validateText("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
	v.validateText("/featureType", op.FeatureType, 1, maxFeatureType)
}

func (v *validator) validateClose(op *Op) {
	if op.EscrowID == uuid.Nil {
		v.addProblem("/escrowId", "an escrow's id must be a UUID")
	}

	if op.Account != "" {
		v.addProblem("/account", "this operation must not name an account; the escrow has one")
	}

	v.requireEmpty("/featureType", op.FeatureType)
	v.validateText("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
	v.validateModel(op)
	if op.Operation == OpPartialSettle {
		v.validateAmount("/refundAmount", op.RefundAmount)
		v.validateAmount("/settleAmount", op.SettleAmount)
		if op.Amount != 0 {
			v.addProblem("/amount", "a partial settlement must have refundAmount and settleAmount instead")
		}
		return
	}

	v.validateAmount("/amount", op.Amount)
	v.requireNoParts(op)
}

func (v *validator) validateModel(op *Op) {
	if op.Operation == OpRefund {
		if op.Model != "" {
			v.addProblem("/modelId", "a refund must not have a model")
		}
		return
	}

	v.validateAccount("/modelId", op.Model)
	if op.Model.IsUser() {
		v.addProblem("/modelId", "the account that earns must be a model")
	}
}

func (v *validator) validateExpiresIn(op *Op) {
	if op.ExpiresIn == 0 {
		return
	}
	inRange := op.ExpiresIn >= time.Second && op.ExpiresIn <= maxExpiresIn
	wholeSeconds := op.ExpiresIn%time.Second == 0
	if op.Operation != OpHold || !inRange || !wholeSeconds {
		v.addProblem("/expiresInSeconds", "only a hold expires; it must be a whole number of seconds from 1 to 31536000")
	}
}

func (v *validator) requireNoEscrowFields(op *Op) {
	if op.EscrowID != uuid.Nil {
		v.addProblem("/escrowId", "this operation must not have an escrow")
	}
	if op.Model != "" {
		v.addProblem("/modelId", "this operation must not have a modelId")
	}
	v.requireNoParts(op)
}

func (v *validator) requireNoParts(op *Op) {
	if op.RefundAmount != 0 || op.SettleAmount != 0 {
		v.addProblem("/refundAmount", "only a partial settlement may have refundAmount and settleAmount")
	}
}

func (v *validator) requireEmpty(pointer, s string) {
	if s != "" {
		v.addProblem(pointer, "this operation must not have this field")
	}
}

func (v *validator) validateAccount(pointer string, a Account) {
	if !bus.ValidAccount(string(a)) {
		v.addProblem(pointer, "an account must be user:<id> or model:<id>, with an id that matches [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}
}

func (v *validator) validateAmount(pointer string, n int64) {
	if n < 1 || n > MaxAmount {
		v.addProblem(pointer, fmt.Sprintf("an amount must be a whole number from 1 to %d", MaxAmount))
	}
}

func (v *validator) validateKey(s string) {
	if !bus.ValidText(s) {
		v.addProblem("/idempotencyKey", fmt.Sprintf("an idempotency key must have 1 to %d visible ASCII characters", bus.MaxTextBytes))
	}
}

func (v *validator) validateReason(s string) {
	if !isReason(s) {
		v.addProblem("/reason", "a reason must match [a-z][a-z0-9_]{0,63}")
	}
}

func isReason(s string) bool {
	if s == "" || len(s) > maxReason || !isLowerLetter(s[0]) {
		return false
	}

	for i := range len(s) {
		c := s[i]
		if !isLowerLetter(c) && !isDigit(c) && c != '_' {
			return false
		}
	}

	return true
}

func isLowerLetter(c byte) bool { return c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// checkText refuses control characters, since they break log lines and Postgres cannot store
// U+0000.
func (v *validator) validateText(pointer, s string, minLen, maxLen int) {
	if len(s) < minLen || len(s) > maxLen {
		v.addProblem(pointer, fmt.Sprintf("must have %d to %d bytes", minLen, maxLen))
		return
	}

	if hasControlCharacter(s) {
		v.addProblem(pointer, "must not have control characters")
		return
	}

	if !utf8.ValidString(s) {
		v.addProblem(pointer, "must be valid UTF-8")
	}
}

func hasControlCharacter(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func (v *validator) validateMetadata(m json.RawMessage) {
	switch {
	case m == nil:
	case len(m) > MaxMetadata:
		v.tooLarge = true
	case !bus.ValidObject(m) || !utf8.Valid(m):
		v.addProblem("/metadata", "metadata must be a JSON object")
	}
}
