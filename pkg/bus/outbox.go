package bus

import "time"

// OutboxRow is one committed transaction whose events Redis may not have yet.
type OutboxRow struct {
	ID          int64           // the outbox row; for one account, order of ids is order of seq
	CommittedAt time.Time       // when the transaction was made
	Updates     []AccountUpdate // one for each party, the user's first
}

// Position is how far an account's events go.
type Position struct {
	Account string
	Seq     int64
}
