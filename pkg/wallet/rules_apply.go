package wallet

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// wallet is an account's row, as a batch reads and changes it.
type wallet struct {
	Account   Account
	Available int64
	Escrow    int64
	Earned    int64
	Seq       int64
	Hash      []byte // of the newest entry; empty before the first
	UpdatedAt time.Time

	hashBefore []byte // Hash before the batch
	created    bool   // the database does not have the wallet yet
	changed    bool
}

func (w *wallet) currentBalance() Balance {
	p := w.toParty()
	return p.toBalance(w.UpdatedAt)
}

func (w *wallet) toParty() Party {
	return Party{
		Account:   w.Account,
		Seq:       w.Seq,
		Available: w.Available,
		Escrow:    w.Escrow,
		Earned:    w.Earned,
	}
}

// state holds the wallets and escrows that the operations of a batch name, as far as they exist.
// applyOp changes the state in place.
type state struct {
	wallets map[Account]*wallet
	escrows map[uuid.UUID]*Escrow
}

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
	if paysModel && model != nil && model.Earned > MaxAmount-settle {
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

// newestChange returns the time of the last change of the operation's accounts. The transaction
// must not be earlier. So the times of an account's transactions never decrease, even if the clocks
// of several cores differ.
func (st *state) newestChange(op *Op) time.Time {
	accounts := [...]Account{op.Account, op.Model, ""}
	e := st.escrows[op.EscrowID]
	if e != nil {
		accounts[2] = e.User
	}

	var newest time.Time
	for _, a := range accounts {
		w := st.wallets[a]
		if w != nil && w.UpdatedAt.After(newest) {
			newest = w.UpdatedAt
		}
	}

	return newest
}

// ensureWallet returns the account's wallet. It creates the wallet if it does not exist.
func (st *state) ensureWallet(a Account) *wallet {
	w := st.wallets[a]
	if w == nil {
		w = &wallet{Account: a, created: true}
		st.wallets[a] = w
	}

	return w
}

// mainState returns the balance that credits and debits change.
func (w *wallet) mainState() BalanceState {
	if w.Account.IsModel() {
		return StateEarned
	}

	return StateAvailable
}

// balanceOf returns a pointer to one of the balances.
func (w *wallet) balanceOf(s BalanceState) *int64 {
	switch s {
	case StateAvailable:
		return &w.Available
	case StateEscrow:
		return &w.Escrow
	default:
		return &w.Earned
	}
}

// posting adds entries and parties to a transaction, one wallet after the other.
type posting struct {
	tx      *Transaction
	summary []byte  // see encodeSummary
	w       *wallet // the wallet of the open party
}

// openParty starts the entries of a wallet. hasOwnEvent means that the operation has an event of
// its own. This event has the seq before the party's first entry.
func (p *posting) openParty(w *wallet, hasOwnEvent bool) {
	p.w = w
	if hasOwnEvent {
		w.Seq++
	}
}

// postEntry changes one balance of the open party and adds the entry.
func (p *posting) postEntry(s BalanceState, amount int64) {
	w := p.w
	w.Seq++
	balance := w.balanceOf(s)
	e := Entry{
		TransactionID: p.tx.ID,
		Place:         len(p.tx.Entries),
		Account:       w.Account,
		State:         s,
		Amount:        amount,
		BalanceBefore: *balance,
		BalanceAfter:  *balance + amount,
		Seq:           w.Seq,
		CreatedAt:     p.tx.CreatedAt,
	}

	e.Hash = hashEntry(w.Hash, p.summary, &e)
	*balance = e.BalanceAfter
	w.Hash = e.Hash
	p.tx.Entries = append(p.tx.Entries, e)
}

// closeParty ends the entries of a wallet and adds the party.
func (p *posting) closeParty() {
	p.w.changed = true
	p.w.UpdatedAt = p.tx.CreatedAt
	p.tx.Parties = append(p.tx.Parties, p.w.toParty())
}

// postSystemEntry adds the opposite entry of points that enter or leave the ledger.
func (p *posting) postSystemEntry(a Account, amount int64) {
	e := Entry{
		TransactionID: p.tx.ID,
		Place:         len(p.tx.Entries),
		Account:       a,
		State:         StateSystem,
		Amount:        amount,
		CreatedAt:     p.tx.CreatedAt,
	}

	e.Hash = hashEntry(nil, p.summary, &e)
	p.tx.Entries = append(p.tx.Entries, e)
}
