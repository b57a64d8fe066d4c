package wallet

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// EscrowStatus is the status of an escrow. It is held at first. It changes only once, to one of the
// other statuses.
type EscrowStatus string

// The statuses of an escrow.
const (
	StatusHeld             EscrowStatus = "held"
	StatusSettled          EscrowStatus = "settled"
	StatusRefunded         EscrowStatus = "refunded"
	StatusPartiallySettled EscrowStatus = "partially_settled"
)

// Escrow is an amount of a user's points that is held until the queue settles or refunds it.
type Escrow struct {
	ID          uuid.UUID
	User        Account
	Amount      int64
	Status      EscrowStatus
	Reason      string // of the hold
	QueueItemID string
	FeatureType string
	HeldBy      uuid.UUID // id of the hold's transaction
	CreatedAt   time.Time

	// ExpiresAt is the time of the automatic refund. It is zero if the escrow never expires. It is
	// computed from the clock and not from CreatedAt, which may be later than the clock's time if
	// another core's clock was ahead.
	ExpiresAt time.Time

	ClosedBy     uuid.UUID // id of the transaction that closed the escrow; zero while held
	ClosedAt     time.Time // zero while held
	Model        Account   // the account that earned points; empty while held and after a refund
	RefundAmount int64     // points that returned to the user
	SettleAmount int64     // points that the model earned
}

// BalanceState names the balance that an entry changes.
type BalanceState string

// The balance states. The entries of a system account have StateSystem.
const (
	StateAvailable BalanceState = "available"
	StateEscrow    BalanceState = "escrow"
	StateEarned    BalanceState = "earned"
	StateSystem    BalanceState = "system"
)

// Entry is one leg of a transaction. The ledger never changes or deletes an entry.
type Entry struct {
	ID            uuid.UUID // UUIDv5 of the transaction id and Place
	TransactionID uuid.UUID
	Place         int // position in the transaction, from 0
	Account       Account
	State         BalanceState
	Amount        int64 // signed; the entries of a transaction sum to zero
	BalanceBefore int64 // 0 for a system account
	BalanceAfter  int64 // 0 for a system account
	Seq           int64 // of the entry's balance_updated event; 0 for a system account
	Hash          []byte
	CreatedAt     time.Time

	// Fields of the transaction:
	Operation     Operation
	Reason        string
	EscrowID      uuid.UUID // zero if the operation has no escrow
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
	RefundAmount  int64 // partial_settle only
	SettleAmount  int64 // partial_settle only
	Reason        string
	EscrowID      uuid.UUID // zero if the operation has no escrow
	QueueItemID   string
	FeatureType   string
	CorrelationID string
	RequestID     string
	Metadata      json.RawMessage
	CreatedAt     time.Time
	Parties       []Party // the accounts that changed, the user first
	Entries       []Entry // in order of Place. Only functions that say so fill it in.

	// Trace is the Op's Trace. It is not stored. Events that are derived from a stored transaction
	// have no trace context.
	Trace string

	chains eventChains
}

// Party is an account's state after a transaction.
type Party struct {
	Account   Account
	Seq       int64     // seq of the account's last event in the transaction
	Chain     bus.Chain // of the same event
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
		Chain:     p.Chain,
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

// splitParties returns the user's and the model's party. A party that the transaction does not have
// is nil.
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

// isEscrowOperation reports whether the operation opens or closes an escrow. An escrow operation
// has one event of its own in addition to the events of the changed balances.
func (tx *Transaction) isEscrowOperation() bool {
	return tx.Operation != OpCredit && tx.Operation != OpDebit
}

// Page selects one page of a listing. Listings start with the newest item.
type Page struct {
	Limit  int    // 1 to 1000. Defaults to 100.
	Before string // next cursor of the previous page. Empty selects the first page.
}

// EntryFilter selects entries. Its zero value selects all entries.
type EntryFilter struct {
	Reason string    // only entries with this reason. Empty selects all reasons.
	From   time.Time // only entries with CreatedAt >= From. Zero sets no bound.
	To     time.Time // only entries with CreatedAt < To. Zero sets no bound.
}

// AccountEvent is one event, reduced to the fields that the account's owner may see.
type AccountEvent struct {
	Account Account         `json:"account"`
	Seq     int64           `json:"seq"`
	Chain   bus.Chain       `json:"chain"`
	Event   json.RawMessage `json:"event"`
}
