package wallet

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// wallet is an account's row while a batch works on it.
type wallet struct {
	Account   Account
	Available int64
	Escrow    int64
	Earned    int64
	Seq       int64
	Hash      []byte // of the newest entry; empty before the first
	UpdatedAt time.Time

	was     []byte // Hash when the batch began
	created bool   // not in the database yet
	changed bool
}

func (w *wallet) balance() Balance {
	return Balance{
		Account: string(w.Account), Available: w.Available, Escrow: w.Escrow, Earned: w.Earned,
		Seq: w.Seq, UpdatedAt: w.UpdatedAt,
	}
}

func (w *wallet) party() Party {
	return Party{Account: w.Account, Seq: w.Seq, Available: w.Available, Escrow: w.Escrow, Earned: w.Earned}
}

// state is what a batch works on: every wallet and escrow that its operations
// name, as far as it exists. apply changes it in place.
type state struct {
	wallets map[Account]*wallet
	escrows map[uuid.UUID]*Escrow
}

// apply carries out one operation on the state, or refuses it and leaves the
// state as it was. It is a pure function of its arguments: identifiers and the
// times come from the caller: at is the transaction's, now the clock's, which at
// is ahead of where another core's clock once was. op has passed Check. The
// transaction that it returns has parties and entries; seq, balances and hash chain
// are final.
func apply(st *state, op *Op, id uuid.UUID, at, now time.Time) (Transaction, error) {
	tx := Transaction{
		ID: id, Operation: op.Operation, Amount: op.Amount,
		RefundAmount: op.RefundAmount, SettleAmount: op.SettleAmount, Reason: op.Reason,
		QueueItemID: op.QueueItemID, FeatureType: op.FeatureType, CorrelationID: op.CorrelationID,
		RequestID: op.RequestID, Metadata: op.Metadata, CreatedAt: at, Trace: op.Trace,
	}
	if tx.CorrelationID == "" {
		tx.CorrelationID = op.TraceParent
	}
	p := posting{tx: &tx, summary: summarize(&tx)}
	var err error
	switch op.Operation {
	case OpCredit:
		err = credit(st, op, &p)
	case OpDebit:
		err = debit(st, op, &p)
	case OpHold:
		err = hold(st, op, &p, now)
	default:
		err = endEscrow(st, op, &p)
	}
	return tx, err
}

func credit(st *state, op *Op, p *posting) error {
	w := st.wallets[op.Account]
	if w != nil && w.Available+w.Escrow+w.Earned > MaxAmount-op.Amount {
		return errBalanceTooLarge
	}
	w = st.walletOrNew(op.Account)
	p.begin(w, false)
	p.post(mainState(w), op.Amount)
	p.end()
	p.system(SystemIssuance, -op.Amount)
	return nil
}

func debit(st *state, op *Op, p *posting) error {
	w := st.wallets[op.Account]
	if w == nil {
		return ErrAccountNotFound
	}
	if have := *w.field(mainState(w)); have < op.Amount {
		return &InsufficientFundsError{Account: op.Account, Available: have, Requested: op.Amount}
	}
	p.begin(w, false)
	p.post(mainState(w), -op.Amount)
	p.end()
	p.system(SystemPayout, op.Amount)
	return nil
}

func hold(st *state, op *Op, p *posting, now time.Time) error {
	w := st.wallets[op.Account]
	if w == nil {
		return ErrAccountNotFound
	}
	if w.Available < op.Amount {
		return &InsufficientFundsError{Account: op.Account, Available: w.Available, Requested: op.Amount}
	}
	p.tx.EscrowID = op.EscrowID
	p.begin(w, true)
	p.post(StateAvailable, -op.Amount)
	p.post(StateEscrow, op.Amount)
	p.end()

	e := &Escrow{
		ID: op.EscrowID, User: op.Account, Amount: op.Amount, Status: StatusHeld, Reason: op.Reason,
		QueueItemID: op.QueueItemID, FeatureType: op.FeatureType, HeldBy: p.tx.ID, CreatedAt: p.tx.CreatedAt,
	}
	if op.ExpiresIn > 0 {
		e.ExpiresAt = now.Add(op.ExpiresIn)
	}
	st.escrows[e.ID] = e
	return nil
}

// endEscrow settles, refunds or does both: the three ways out of escrow.
func endEscrow(st *state, op *Op, p *posting) error {
	e := st.escrows[op.EscrowID]
	if e == nil {
		return ErrEscrowNotFound
	}
	if e.Status != StatusHeld {
		return &EscrowProcessedError{Status: e.Status}
	}
	refund, settle, status := op.RefundAmount, op.SettleAmount, StatusPartiallySettled
	switch op.Operation {
	case OpSettle:
		settle, status = op.Amount, StatusSettled
	case OpRefund:
		refund, status = op.Amount, StatusRefunded
	}
	u := st.wallets[e.User]
	if u == nil {
		return fmt.Errorf("escrow %s: %w: %s", e.ID, errNoWallet, e.User)
	}
	// Each is at most 2^53-1, so the sum cannot overflow.
	if refund+settle != e.Amount {
		return &AmountMismatchError{EscrowAmount: e.Amount, Requested: refund + settle}
	}
	if settle > 0 {
		if m := st.wallets[op.Model]; m != nil && m.Earned > MaxAmount-settle {
			return errBalanceTooLarge
		}
	}
	p.tx.EscrowID, p.tx.Amount = e.ID, e.Amount

	p.begin(u, true)
	p.post(StateEscrow, -e.Amount)
	if refund > 0 {
		p.post(StateAvailable, refund)
	}
	p.end()
	if settle > 0 {
		p.begin(st.walletOrNew(op.Model), true)
		p.post(StateEarned, settle)
		p.end()
		e.Model = op.Model
	}
	e.Status, e.ClosedBy, e.ClosedAt = status, p.tx.ID, p.tx.CreatedAt
	e.RefundAmount, e.SettleAmount = refund, settle
	return nil
}

// errNoWallet says that somebody deleted rows: it must not stop those who come with the same batch.
var errNoWallet = errors.New("its user has no wallet")

// errBalanceTooLarge keeps every balance, and the sum of a user's two, within
// what JavaScript can hold; so a refund can never be refused.
var errBalanceTooLarge = invalid("/amount", "the balance would be above 9007199254740991")

// newest is when the operation's accounts last changed: no account's history
// goes back in time, whatever the clocks of several cores say.
func (st *state) newest(op *Op) time.Time {
	accounts := [...]Account{op.Account, op.Model, ""}
	if e := st.escrows[op.EscrowID]; e != nil {
		accounts[2] = e.User
	}
	var t time.Time
	for _, a := range accounts {
		if w := st.wallets[a]; w != nil && w.UpdatedAt.After(t) {
			t = w.UpdatedAt
		}
	}
	return t
}

func (st *state) walletOrNew(a Account) *wallet {
	w := st.wallets[a]
	if w == nil {
		w = &wallet{Account: a, created: true}
		st.wallets[a] = w
	}
	return w
}

// mainState is the balance that a credit fills and a debit empties.
func mainState(w *wallet) BalanceState {
	if w.Account.IsModel() {
		return StateEarned
	}
	return StateAvailable
}

func (w *wallet) field(s BalanceState) *int64 {
	switch s {
	case StateAvailable:
		return &w.Available
	case StateEscrow:
		return &w.Escrow
	default:
		return &w.Earned
	}
}

// posting writes a transaction's entries, wallet by wallet.
type posting struct {
	tx      *Transaction
	summary []byte // canonical form of the transaction, part of each entry's hash
	w       *wallet
}

// begin turns to a wallet. An escrow operation's own event takes the seq just
// before the party's first entry.
func (p *posting) begin(w *wallet, ownEvent bool) {
	p.w = w
	if ownEvent {
		w.Seq++
	}
}

func (p *posting) post(s BalanceState, amount int64) {
	w, balance := p.w, p.w.field(s)
	w.Seq++
	e := Entry{
		TransactionID: p.tx.ID, Place: len(p.tx.Entries), Account: w.Account, State: s, Amount: amount,
		BalanceBefore: *balance, BalanceAfter: *balance + amount, Seq: w.Seq, CreatedAt: p.tx.CreatedAt,
	}
	e.Hash = entryHash(w.Hash, p.summary, &e)
	*balance, w.Hash = e.BalanceAfter, e.Hash
	p.tx.Entries = append(p.tx.Entries, e)
}

func (p *posting) end() {
	p.w.changed = true
	p.w.UpdatedAt = p.tx.CreatedAt
	p.tx.Parties = append(p.tx.Parties, p.w.party())
}

// system posts the other side of points that enter or leave.
func (p *posting) system(a Account, amount int64) {
	e := Entry{
		TransactionID: p.tx.ID, Place: len(p.tx.Entries), Account: a, State: StateSystem, Amount: amount,
		CreatedAt: p.tx.CreatedAt,
	}
	e.Hash = entryHash(nil, p.summary, &e)
	p.tx.Entries = append(p.tx.Entries, e)
}
