package wallet

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// applyOp applies one operation to the state and returns its transaction. If it refuses the
// operation, it returns an error and does not change the state. The result depends only on the
// arguments.
//
// The operation must be valid. id is the transaction's id, at is the transaction's time and now is
// the clock's time. at is later than now if another core's clock was ahead when it changed the
// account. The parties, entries, seqs, balances and hashes of the returned transaction are final.
func applyOp(st *state, op *Op, id uuid.UUID, at, now time.Time) (Transaction, error) {
	tx := newTransaction(op, id, at)
	p := posting{
		tx:      &tx,
		summary: encodeSummary(&tx),
	}

	var err error
	switch op.Operation {
	case OpCredit:
		err = applyCredit(st, op, &p)
	case OpDebit:
		err = applyDebit(st, op, &p)
	case OpHold:
		err = applyHold(st, op, &p, now)
	default:
		err = applyClose(st, op, &p)
	}

	return tx, err
}

func newTransaction(op *Op, id uuid.UUID, at time.Time) Transaction {
	tx := Transaction{
		ID:            id,
		Operation:     op.Operation,
		Amount:        op.Amount,
		RefundAmount:  op.RefundAmount,
		SettleAmount:  op.SettleAmount,
		Reason:        op.Reason,
		QueueItemID:   op.QueueItemID,
		FeatureType:   op.FeatureType,
		CorrelationID: op.CorrelationID,
		RequestID:     op.RequestID,
		Metadata:      op.Metadata,
		CreatedAt:     at,
		Trace:         op.Trace,
	}

	if tx.CorrelationID == "" {
		tx.CorrelationID = op.TraceParent
	}

	return tx
}

func applyCredit(st *state, op *Op, p *posting) error {
	w := st.wallets[op.Account]
	if w != nil && w.Available+w.Escrow+w.Earned > MaxAmount-op.Amount {
		return errBalanceTooLarge
	}

	w = st.ensureWallet(op.Account)
	p.openParty(w, false)
	p.postEntry(w.mainState(), op.Amount)
	p.closeParty()
	p.postSystemEntry(SystemIssuance, -op.Amount)
	return nil
}

func applyDebit(st *state, op *Op, p *posting) error {
	w := st.wallets[op.Account]
	if w == nil {
		return ErrAccountNotFound
	}

	available := *w.balanceOf(w.mainState())
	if available < op.Amount {
		return &InsufficientFundsError{
			Account:   op.Account,
			Available: available,
			Requested: op.Amount,
		}
	}

	p.openParty(w, false)
	p.postEntry(w.mainState(), -op.Amount)
	p.closeParty()
	p.postSystemEntry(SystemPayout, op.Amount)
	return nil
}

func applyHold(st *state, op *Op, p *posting, now time.Time) error {
	w := st.wallets[op.Account]
	if w == nil {
		return ErrAccountNotFound
	}

	if w.Available < op.Amount {
		return &InsufficientFundsError{
			Account:   op.Account,
			Available: w.Available,
			Requested: op.Amount,
		}
	}

	p.tx.EscrowID = op.EscrowID
	p.openParty(w, true)
	p.postEntry(StateAvailable, -op.Amount)
	p.postEntry(StateEscrow, op.Amount)
	p.closeParty()

	e := &Escrow{
		ID:          op.EscrowID,
		User:        op.Account,
		Amount:      op.Amount,
		Status:      StatusHeld,
		Reason:      op.Reason,
		QueueItemID: op.QueueItemID,
		FeatureType: op.FeatureType,
		HeldBy:      p.tx.ID,
		CreatedAt:   p.tx.CreatedAt,
	}

	if op.ExpiresIn > 0 {
		e.ExpiresAt = now.Add(op.ExpiresIn)
	}

	st.escrows[e.ID] = e
	return nil
}

// applyClose closes an escrow: it settles it, refunds it, or settles a part and refunds the rest.
func applyClose(st *state, op *Op, p *posting) error {
	e := st.escrows[op.EscrowID]
	if e == nil {
		return ErrEscrowNotFound
	}

	if e.Status != StatusHeld {
		return &EscrowProcessedError{Status: e.Status}
	}

	user := st.wallets[e.User]
	if user == nil {
		return fmt.Errorf("escrow %s: %w: %s", e.ID, errNoWallet, e.User)
	}

	refund, settle := op.escrowParts()
	requested := refund + settle // each part is at most 2^53-1, so the sum cannot overflow
	if requested != e.Amount {
		return &AmountMismatchError{
			EscrowAmount: e.Amount,
			Requested:    requested,
		}
	}

	paysModel := settle > 0
	model := st.wallets[op.Model]
	exceedsMax := model != nil && model.Earned > MaxAmount-settle
	if paysModel && exceedsMax {
		return errBalanceTooLarge
	}

	p.tx.EscrowID = e.ID
	p.tx.Amount = e.Amount
	p.openParty(user, true)
	p.postEntry(StateEscrow, -e.Amount)
	if refund > 0 {
		p.postEntry(StateAvailable, refund)
	}

	p.closeParty()
	if paysModel {
		p.openParty(st.ensureWallet(op.Model), true)
		p.postEntry(StateEarned, settle)
		p.closeParty()
		e.Model = op.Model
	}

	e.Status = op.closedStatus()
	e.ClosedBy = p.tx.ID
	e.ClosedAt = p.tx.CreatedAt
	e.RefundAmount = refund
	e.SettleAmount = settle
	return nil
}

// escrowParts returns the points that return to the user and the points that the model earns.
func (op *Op) escrowParts() (refund, settle int64) {
	switch op.Operation {
	case OpSettle:
		return op.RefundAmount, op.Amount
	case OpRefund:
		return op.Amount, op.SettleAmount
	default:
		return op.RefundAmount, op.SettleAmount
	}
}

// closedStatus returns the status of an escrow after the operation has closed it.
func (op *Op) closedStatus() EscrowStatus {
	switch op.Operation {
	case OpSettle:
		return StatusSettled
	case OpRefund:
		return StatusRefunded
	default:
		return StatusPartiallySettled
	}
}

// errNoWallet means that rows were deleted from the database. Only the operation itself fails; the
// other operations of its batch are not affected.
var errNoWallet = errors.New("the escrow's user must have a wallet")

// errBalanceTooLarge means that a balance, or the sum of a user's two balances, would exceed
// MaxAmount. The limit applies to the sum so that a refund is always possible.
var errBalanceTooLarge = invalidField("/amount", "the balance after the operation must not exceed 9007199254740991")
