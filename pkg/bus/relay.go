package bus

import (
	"context"
	"time"
)

// Pending is one committed transaction whose events Redis may not have yet.
type Pending struct {
	ID          int64     // the outbox row; for one account, order of ids is order of seq
	CommittedAt time.Time // when the transaction was made
	Groups      []Group   // one for each party, the user's first
}

// Position is how far an account's events go.
type Position struct {
	Account string
	Seq     int64
}

// A Source is where the relay finds what is committed and not yet published.
// The ledger is one. All methods may be called from several goroutines.
type Source interface {
	// Pending returns the oldest rows of the outbox with id above after, by id,
	// at most limit.
	Pending(ctx context.Context, after int64, limit int) ([]Pending, error)
	// Published deletes outbox rows whose events Redis has. Ids that are gone
	// already are no error.
	Published(ctx context.Context, ids []int64) error
	// Backlog counts the outbox and tells when its oldest row was made (zero: empty).
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)
	// GroupsAfter derives an account's groups again, those whose deliveries have
	// seq greater than after, oldest first, at most limit groups.
	GroupsAfter(ctx context.Context, account string, after int64, limit int) ([]Group, error)
	// ChangedSince goes through what changed at or after t, oldest first, limit
	// transactions a page, and lists the accounts with their newest committed seq, each
	// once a page. The first page's cursor is empty, and so is the last one's next.
	ChangedSince(ctx context.Context, t time.Time, cursor string, limit int) (page []Position, next string, err error)
}
