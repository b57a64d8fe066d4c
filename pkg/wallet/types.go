package wallet

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// EscrowStatus is held, and then exactly once one of the others.
type EscrowStatus string

// The statuses of an escrow.
const (
	StatusHeld             EscrowStatus = "held"
	StatusSettled          EscrowStatus = "settled"
	StatusRefunded         EscrowStatus = "refunded"
	StatusPartiallySettled EscrowStatus = "partially_settled"
)

// Escrow is points of a user that are held until the queue settles or refunds them.
type Escrow struct {
	ID          uuid.UUID
	User        Account
	Amount      int64
	Status      EscrowStatus
	Reason      string // of the hold
	QueueItemID string
	FeatureType string
	HeldBy      uuid.UUID // transaction of the hold
	CreatedAt   time.Time

	// ExpiresAt is by the clock; zero: never. CreatedAt may be later than the clock was, if another
	// core's clock had been ahead.
	ExpiresAt time.Time

	ClosedBy     uuid.UUID // transaction that closed it; zero while held
	ClosedAt     time.Time // zero while held
	Model        Account   // who earned; empty while held and when refunded
	RefundAmount int64     // went back to the user
	SettleAmount int64     // the model earned it
}

// BalanceState names the balance that an entry changes.
type BalanceState string

// The balances. A system account's entries have StateSystem.
const (
	StateAvailable BalanceState = "available"
	StateEscrow    BalanceState = "escrow"
	StateEarned    BalanceState = "earned"
	StateSystem    BalanceState = "system"
)

// Entry is one leg of a transaction. Entries are never changed or deleted.
type Entry struct {
	ID            uuid.UUID // UUIDv5 of the transaction id and Place
	TransactionID uuid.UUID
	Place         int // position in the transaction, from 0
	Account       Account
	State         BalanceState
	Amount        int64 // signed; a transaction's entries sum to zero
	BalanceBefore int64 // 0 for a system account
	BalanceAfter  int64 // 0 for a system account
	Seq           int64 // of the entry's balance_updated event; 0 for a system account
	Hash          []byte
	CreatedAt     time.Time

	// Of the transaction:
	Operation     Operation
	Reason        string
	EscrowID      uuid.UUID // zero: none
	QueueItemID   string
	FeatureType   string
	CorrelationID string
	RequestID     string
	Metadata      json.RawMessage
}

// Transaction is one committed operation.
type Transaction struct {
	ID            uuid.UUID
	Operation     Operation
	Amount        int64
	RefundAmount  int64 // partial_settle
	SettleAmount  int64 // partial_settle
	Reason        string
	EscrowID      uuid.UUID // zero: none
	QueueItemID   string
	FeatureType   string
	CorrelationID string
	RequestID     string
	Metadata      json.RawMessage
	CreatedAt     time.Time
	Trace         string  // of the Op. It is not stored, so events that are derived again have none.
	Parties       []Party // the accounts that changed: the user first
	Entries       []Entry // in order of Place. Only some calls fill them in, and say so.
}

// Party is an account's state after a transaction.
type Party struct {
	Account   Account
	Seq       int64 // of the account's last event in the transaction
	Available int64
	Escrow    int64
	Earned    int64
}

func (p *Party) toBalance(t time.Time) Balance {
	return Balance{
		Account:   string(p.Account),
		Available: p.Available,
		Escrow:    p.Escrow,
		Earned:    p.Earned,
		Seq:       p.Seq,
		UpdatedAt: t,
	}
}

func (p *Party) balanceIn(s BalanceState) int64 {
	switch s {
	case StateAvailable:
		return p.Available
	case StateEscrow:
		return p.Escrow
	default:
		return p.Earned
	}
}

// sides returns the user's and the model's party; nil: the transaction has none.
func (tx *Transaction) splitParties() (user, model *Party) {
	for i := range tx.Parties {
		p := &tx.Parties[i]
		if p.Account.IsModel() {
			model = p
		} else {
			user = p
		}
	}
	return user, model
}

// isEscrowOperation reports whether the operation opens or closes an escrow. Then it has an event of
// its own, beside those of the balances that it changes.
func (tx *Transaction) isEscrowOperation() bool {
	return tx.Operation != OpCredit && tx.Operation != OpDebit
}

// Page bounds a listing, newest first.
type Page struct {
	Limit  int    // 1 to 1000. Defaults to 100.
	Before string // the cursor that the previous page returned as next; empty: from the newest
}

// EntryFilter narrows a listing of entries.
type EntryFilter struct {
	Reason   string    // empty: any
	From, To time.Time // From <= CreatedAt < To; zero: open
}

// AccountEvent is one event as the account itself may see it.
type AccountEvent struct {
	Account Account         `json:"account"`
	Seq     int64           `json:"seq"`
	Event   json.RawMessage `json:"event"`
}
