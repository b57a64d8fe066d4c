package bus

import "time"

// OutboxRow is a committed transaction whose events may not be in Redis yet.
type OutboxRow struct {
	ID          int64           // outbox id; the ids of one account are in the order of seq
	CommittedAt time.Time       // time of the transaction
	Updates     []AccountUpdate // one for each party, the user's first

	// Generation is the source's generation when the transaction began; 0: unknown. Another
	// generation is another database, which may lack the transaction.
	Generation uint64
}

// Position is an account with the seq and the chain of one of its events, usually the newest one.
type Position struct {
	Account string
	Seq     int64
	Chain   Chain
}
