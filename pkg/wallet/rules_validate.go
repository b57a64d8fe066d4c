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
	maxCorrelationID = 255 // also the limit of request ids and trace contexts
)

// MaxMetadataNesting is the number of levels that metadata may nest. JSON parsers in other languages
// fail on deep nesting, and consumers of the events use them.
const MaxMetadataNesting = 16

// maxExpiresIn is 365 days.
const maxExpiresIn = 31536000 * time.Second

// Validate checks the operation's fields. It does not read the ledger. The error is an
// *InvalidError with all invalid fields, or it matches ErrTooLarge.
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
		v.addProblem("/operation", "operation must be credit, debit, hold, settle, refund or partial_settle")
	}

	v.validateExpiresIn(op)
	return v.toError()
}

// validator collects the invalid fields of an operation.
type validator struct {
	fields   []FieldError
	tooLarge bool
}

func (v *validator) addProblem(pointer, detail string) {
	v.fields = append(v.fields, FieldError{
		Pointer: pointer,
		Detail:  detail,
	})
}

// toError returns nil if the operation is valid.
func (v *validator) toError() error {
	switch {
	case len(v.fields) > 0:
		return &InvalidError{Fields: v.fields}
	case v.tooLarge:
		return fmt.Errorf("%w: metadata must have at most %d bytes", ErrTooLarge, MaxMetadata)
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
		v.addProblem("/account", "account of a hold must be user:<id>")
	}

	v.validateAmount("/amount", op.Amount)
	v.requireNoEscrowFields(op)
	v.validateText("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
	v.validateText("/featureType", op.FeatureType, 1, maxFeatureType)
}

func (v *validator) validateClose(op *Op) {
	if op.EscrowID == uuid.Nil {
		v.addProblem("/escrowId", "escrowId must be a UUID")
	}

	if op.Account != "" {
		v.addProblem("/account", "account must be empty; the escrow determines it")
	}

	v.requireEmpty("/featureType", op.FeatureType)
	v.validateText("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
	v.validateModel(op)
	if op.Operation == OpPartialSettle {
		v.validateAmount("/refundAmount", op.RefundAmount)
		v.validateAmount("/settleAmount", op.SettleAmount)
		if op.Amount != 0 {
			v.addProblem("/amount", "amount must be absent; a partial settlement has refundAmount and settleAmount")
		}

		return
	}

	v.validateAmount("/amount", op.Amount)
	v.requireNoParts(op)
}

func (v *validator) validateModel(op *Op) {
	if op.Operation == OpRefund {
		if op.Model != "" {
			v.addProblem("/modelId", "modelId must be absent in a refund")
		}

		return
	}

	if !op.Model.IsModel() || !bus.ValidAccount(string(op.Model)) {
		v.addProblem("/modelId", "must be model:<id> or the bare <id>; the id must match [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}
}

func (v *validator) validateExpiresIn(op *Op) {
	if op.ExpiresIn == 0 {
		return
	}

	if op.Operation != OpHold {
		v.addProblem("/expiresInSeconds", "expiresInSeconds must be absent unless the operation is a hold")
		return
	}

	inRange := op.ExpiresIn >= time.Second && op.ExpiresIn <= maxExpiresIn
	isWhole := op.ExpiresIn%time.Second == 0
	if !inRange || !isWhole {
		v.addProblem("/expiresInSeconds", "expiresInSeconds must be a whole number from 1 to 31536000")
	}
}

func (v *validator) requireNoEscrowFields(op *Op) {
	if op.EscrowID != uuid.Nil {
		v.addProblem("/escrowId", "escrowId must be absent in this operation")
	}

	if op.Model != "" {
		v.addProblem("/modelId", "modelId must be absent in this operation")
	}

	v.requireNoParts(op)
}

func (v *validator) requireNoParts(op *Op) {
	if op.RefundAmount != 0 || op.SettleAmount != 0 {
		v.addProblem("/refundAmount", "refundAmount and settleAmount must be absent unless the operation is a partial settlement")
	}
}

func (v *validator) requireEmpty(pointer, s string) {
	if s != "" {
		v.addProblem(pointer, "must be absent in this operation")
	}
}

func (v *validator) validateAccount(pointer string, a Account) {
	if !bus.ValidAccount(string(a)) {
		v.addProblem(pointer, "must be user:<id> or model:<id>; the id must match [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}
}

func (v *validator) validateAmount(pointer string, n int64) {
	if n < 1 || n > MaxAmount {
		v.addProblem(pointer, fmt.Sprintf("must be a whole number from 1 to %d", MaxAmount))
	}
}

func (v *validator) validateKey(s string) {
	if !bus.ValidText(s) {
		v.addProblem("/idempotencyKey", fmt.Sprintf("must have 1 to %d visible ASCII characters", bus.MaxTextBytes))
	}
}

func (v *validator) validateReason(s string) {
	if !isReason(s) {
		v.addProblem("/reason", "must match [a-z][a-z0-9_]{0,63}")
	}
}

func isReason(s string) bool {
	hasValidLength := s != "" && len(s) <= maxReason
	if !hasValidLength || !isLowerLetter(s[0]) {
		return false
	}

	for i := range len(s) {
		c := s[i]
		isAllowed := isLowerLetter(c) || isDigit(c) || c == '_'
		if !isAllowed {
			return false
		}
	}

	return true
}

func isLowerLetter(c byte) bool { return c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// validateText rejects control characters, because they change what terminals and logs show and
// because Postgres cannot store U+0000.
func (v *validator) validateText(pointer, s string, minLen, maxLen int) {
	if len(s) < minLen || len(s) > maxLen {
		v.addProblem(pointer, fmt.Sprintf("must have %d to %d bytes", minLen, maxLen))
		return
	}

	if !bus.PlainText(s) {
		v.addProblem(pointer, "must be UTF-8 without control characters")
	}
}

func (v *validator) validateMetadata(m json.RawMessage) {
	switch {
	case m == nil:
	case len(m) > MaxMetadata:
		v.tooLarge = true
	case bus.NestsDeeper(m, MaxMetadataNesting):
		detail := fmt.Sprintf("metadata must nest at most %d levels deep", MaxMetadataNesting)
		v.addProblem("/metadata", detail)
	case !bus.ValidObject(m) || !utf8.Valid(m):
		v.addProblem("/metadata", "metadata must be a JSON object")
	case !bus.PlainJSON(m):
		v.addProblem("/metadata", "the texts in metadata must not contain control characters, except \\n, \\r and \\t")
	}
}
