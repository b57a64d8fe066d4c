package wallet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits of an operation's text fields, in bytes.
const (
	MaxMetadata    = 8 << 10
	maxKey         = 255
	maxReason      = 64
	maxQueueItemID = 255
	maxFeatureType = 64
	maxID          = 255 // correlation and request ids
	maxExpiresIn   = 31536000 * time.Second
)

// Check tells what is malformed, whatever the state of the ledger: nil, an
// *InvalidError with all fields that are wrong, or ErrTooLarge.
func (op *Op) Check() error {
	c := checker{}
	c.key(op.IdempotencyKey)
	c.reason(op.Reason)
	c.text("/correlationId", op.CorrelationID, 0, maxID)
	c.text("/requestId", op.RequestID, 0, maxID)
	c.text("/traceparent", op.TraceParent, 0, maxID)
	c.metadata(op.Metadata)

	switch op.Operation {
	case OpCredit, OpDebit:
		c.account("/account", op.Account)
		c.amount("/amount", op.Amount)
		c.none(op.EscrowID, op.Model, op.RefundAmount, op.SettleAmount)
		c.absent("/queueItemId", op.QueueItemID)
		c.absent("/featureType", op.FeatureType)
	case OpHold:
		c.account("/account", op.Account)
		if op.Account.IsModel() {
			c.fail("/account", "only a user's points can be held")
		}
		c.amount("/amount", op.Amount)
		c.none(op.EscrowID, op.Model, op.RefundAmount, op.SettleAmount)
		c.text("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
		c.text("/featureType", op.FeatureType, 1, maxFeatureType)
	case OpSettle, OpRefund, OpPartialSettle:
		c.escrowEnd(op)
	default:
		c.fail("/operation", "an operation is credit, debit, hold, settle, refund or partial_settle")
	}
	if op.ExpiresIn != 0 && (op.Operation != OpHold || op.ExpiresIn < time.Second || op.ExpiresIn > maxExpiresIn || op.ExpiresIn%time.Second != 0) {
		c.fail("/expiresInSeconds", "only a hold expires, after a whole number of seconds from 1 to 31536000")
	}
	return c.err()
}

// checker gathers what is wrong.
type checker struct {
	fields   []FieldError
	tooLarge bool
}

func (c *checker) fail(pointer, detail string) {
	c.fields = append(c.fields, FieldError{pointer, detail})
}

func (c *checker) err() error {
	switch {
	case len(c.fields) > 0:
		return &InvalidError{Fields: c.fields}
	case c.tooLarge:
		return fmt.Errorf("%w: metadata has more than %d bytes", ErrTooLarge, MaxMetadata)
	}
	return nil
}

func (c *checker) escrowEnd(op *Op) {
	if op.EscrowID == uuid.Nil {
		c.fail("/escrowId", "an escrow is named by its UUID")
	}
	if op.Account != "" {
		c.fail("/account", "the escrow tells the account")
	}
	c.absent("/featureType", op.FeatureType)
	c.text("/queueItemId", op.QueueItemID, 1, maxQueueItemID)
	if op.Operation == OpRefund {
		if op.Model != "" {
			c.fail("/modelId", "a refund has no model")
		}
	} else {
		c.account("/modelId", op.Model)
		if op.Model.IsUser() {
			c.fail("/modelId", "only a model earns")
		}
	}
	if op.Operation == OpPartialSettle {
		c.amount("/refundAmount", op.RefundAmount)
		c.amount("/settleAmount", op.SettleAmount)
		if op.Amount != 0 {
			c.fail("/amount", "a partial settlement has refundAmount and settleAmount")
		}
		return
	}
	c.amount("/amount", op.Amount)
	if op.RefundAmount != 0 || op.SettleAmount != 0 {
		c.fail("/refundAmount", "only a partial settlement has refundAmount and settleAmount")
	}
}

func (c *checker) none(escrow uuid.UUID, model Account, refund, settle int64) {
	if escrow != uuid.Nil {
		c.fail("/escrowId", "this operation has no escrow")
	}
	if model != "" {
		c.fail("/modelId", "this operation has no modelId")
	}
	if refund != 0 || settle != 0 {
		c.fail("/refundAmount", "only a partial settlement has refundAmount and settleAmount")
	}
}

func (c *checker) absent(pointer, s string) {
	if s != "" {
		c.fail(pointer, "this operation has no such field")
	}
}

func (c *checker) account(pointer string, a Account) {
	if _, err := ParseAccount(string(a)); err != nil {
		c.fail(pointer, "an account is user:<id> or model:<id>, its id matches [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}
}

func (c *checker) amount(pointer string, n int64) {
	if n < 1 || n > MaxAmount {
		c.fail(pointer, fmt.Sprintf("an amount is a whole number from 1 to %d", MaxAmount))
	}
}

func (c *checker) key(s string) {
	if len(s) < 1 || len(s) > maxKey {
		c.fail("/idempotencyKey", "an idempotency key has 1 to 255 visible ASCII characters")
		return
	}
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			c.fail("/idempotencyKey", "an idempotency key has 1 to 255 visible ASCII characters")
			return
		}
	}
}

func (c *checker) reason(s string) {
	ok := len(s) >= 1 && len(s) <= maxReason && s[0] >= 'a' && s[0] <= 'z'
	for i := 0; ok && i < len(s); i++ {
		b := s[i]
		ok = b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '_'
	}
	if !ok {
		c.fail("/reason", "a reason matches [a-z][a-z0-9_]{0,63}")
	}
}

// text refuses control characters: they do nothing good in a log, and Postgres
// cannot store U+0000.
func (c *checker) text(pointer, s string, minLen, maxLen int) {
	if len(s) < minLen || len(s) > maxLen {
		c.fail(pointer, fmt.Sprintf("has %d to %d bytes", minLen, maxLen))
		return
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			c.fail(pointer, "has no control characters")
			return
		}
	}
	if !utf8.ValidString(s) {
		c.fail(pointer, "is valid UTF-8")
	}
}

func (c *checker) metadata(m json.RawMessage) {
	switch {
	case m == nil:
	case len(m) > MaxMetadata:
		c.tooLarge = true
	case !json.Valid(m) || !utf8.Valid(m) || !bytes.HasPrefix(bytes.TrimLeft(m, " \t\r\n"), []byte("{")):
		c.fail("/metadata", "metadata is a JSON object")
	}
}
