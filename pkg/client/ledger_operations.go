package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Operation is an operation of the ledger: a Credit, Debit, Hold, Settle, Refund or PartialSettle.
// All of them have these fields:
//
//   - Reason is a code of small letters, digits and underscores, such as promotional_award.
//   - IdempotencyKey names the operation: 1 to 255 visible ASCII characters. Without one, each call
//     makes a random UUID and keeps it through its retries. Give your own, such as order-4711-hold,
//     if the call must also be safe to repeat after your process restarts. A key is scoped to the
//     kind of operation.
//   - CorrelationID is your own reference, at most 255 bytes. It is stored with the ledger entries
//     and sent with the events.
//   - Metadata is encoded as JSON and must give an object of at most 8 KiB. It is stored and sent
//     like the CorrelationID.
type Operation interface {
	// describe returns the operation as the core takes it.
	describe() (request, error)
}

// Credit gives points to a user or a model. The account is created if it does not exist.
type Credit struct {
	Account string // such as user:u1 or model:m1
	Amount  int64  // points, at least 1
	Reason  string // a code such as promotional_award

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// Debit takes points from the available balance of a user, or from the earned balance of a model.
type Debit struct {
	Account string // such as user:u1 or model:m1
	Amount  int64  // points, at least 1
	Reason  string // a code such as payout

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// Hold moves points of a user from the available balance to escrow. The receipt has the EscrowID.
type Hold struct {
	Account     string        // such as user:u1
	Amount      int64         // points, at least 1
	Reason      string        // a code such as chip_menu_purchase
	QueueItemID string        // the queue item that the points are held for
	FeatureType string        // the feature that requests the hold, such as chip_menu
	ExpiresIn   time.Duration // the core refunds the hold after this time, rounded up to whole seconds; 0: never

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// Settle gives all points of an escrow to a model.
type Settle struct {
	EscrowID    string
	ModelID     string // the bare id, such as m1, or model:m1
	Amount      int64  // the full amount of the escrow
	Reason      string // a code such as performance_completed
	QueueItemID string // the queue item that closes the escrow

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// Refund gives all points of an escrow back to its user.
type Refund struct {
	EscrowID    string
	Amount      int64  // the full amount of the escrow
	Reason      string // a code such as performance_abandoned
	QueueItemID string // the queue item that closes the escrow

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// PartialSettle divides the points of an escrow between its user and a model. The sum of
// RefundAmount and SettleAmount must equal the amount of the escrow.
type PartialSettle struct {
	EscrowID     string
	ModelID      string // the bare id, such as m1, or model:m1
	RefundAmount int64  // points for the user, at least 1
	SettleAmount int64  // points for the model, at least 1
	Reason       string // a code such as partial_performance
	QueueItemID  string // the queue item that closes the escrow

	IdempotencyKey string // optional
	CorrelationID  string // optional
	Metadata       any    // optional
}

// Credit gives points to an account. It needs the scope wallet:credit.
func (l *Ledger) Credit(ctx context.Context, op Credit) (Receipt, error) { return l.Do(ctx, op) }

// Debit takes points from an account. It needs the scope wallet:debit. If the account has too few,
// the error matches ErrInsufficientFunds.
func (l *Ledger) Debit(ctx context.Context, op Debit) (Receipt, error) { return l.Do(ctx, op) }

// Hold holds points of a user. It needs the scope wallet:hold. If the user has too few, the error
// matches ErrInsufficientFunds.
func (l *Ledger) Hold(ctx context.Context, op Hold) (Receipt, error) { return l.Do(ctx, op) }

// Settle closes an escrow. It needs the scope wallet:settle. If the escrow is closed already, the
// error matches ErrEscrowAlreadyProcessed.
func (l *Ledger) Settle(ctx context.Context, op Settle) (Receipt, error) { return l.Do(ctx, op) }

// Refund closes an escrow. It needs the scope wallet:settle. If the escrow is closed already, the
// error matches ErrEscrowAlreadyProcessed.
func (l *Ledger) Refund(ctx context.Context, op Refund) (Receipt, error) { return l.Do(ctx, op) }

// PartialSettle closes an escrow. It needs the scope wallet:settle. If the escrow is closed already,
// the error matches ErrEscrowAlreadyProcessed.
func (l *Ledger) PartialSettle(ctx context.Context, op PartialSettle) (Receipt, error) {
	return l.Do(ctx, op)
}

// Do performs any operation. It is what Credit, Debit and the other methods call.
func (l *Ledger) Do(ctx context.Context, op Operation) (Receipt, error) {
	r, err := op.describe()
	if err != nil {
		return Receipt{}, err
	}
	path, err := r.path()
	if err != nil {
		return Receipt{}, err
	}
	body, err := json.Marshal(r.requestBody)
	if err != nil {
		return Receipt{}, fmt.Errorf("client: encode the %s: %w", r.Operation, err)
	}

	answer, err := l.send(ctx, call{
		name: r.String(),
		path: path,
		body: body,
		keys: []string{r.IdempotencyKey},
	})
	if err != nil {
		return Receipt{}, err
	}
	var receipt Receipt
	err = decodeAnswer(answer, r.String(), &receipt)
	if err != nil {
		return Receipt{}, err
	}
	receipt.Replayed = answer.header.Get("Idempotent-Replayed") == "true"
	return receipt, nil
}
