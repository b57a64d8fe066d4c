package relay

import (
	"context"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Source is where the relay finds what is committed and not yet published.
// The ledger is one. All methods may be called from several goroutines.
type Source interface {
	// Pending returns the oldest rows of the outbox with id above after, by id,
	// at most limit.
	Pending(ctx context.Context, after int64, limit int) ([]bus.OutboxRow, error)
	// Published deletes outbox rows whose events Redis has. Ids that are gone
	// already are no error.
	Published(ctx context.Context, ids []int64) error
	// Backlog counts the outbox and tells when its oldest row was made (zero: empty).
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)
	// UpdatesAfter derives an account's groups again, those whose deliveries have
	// seq greater than after, oldest first, at most limit groups.
	UpdatesAfter(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error)
	// ChangedSince goes through what changed at or after t, oldest first, limit
	// transactions a page, and lists the accounts with their newest committed seq, each
	// once a page. The first page's cursor is empty, and so is the last one's next.
	ChangedSince(ctx context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error)
}
