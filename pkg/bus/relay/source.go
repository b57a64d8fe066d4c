package relay

import (
	"context"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Source provides the committed transactions that are not published yet. The ledger implements
// it. All methods may be called from several goroutines.
type Source interface {
	// Pending returns the oldest rows of the outbox with an id greater than after, in the order of
	// their ids, at most limit rows.
	Pending(ctx context.Context, after int64, limit int) ([]bus.OutboxRow, error)
	// Published deletes outbox rows whose events are in Redis. It ignores ids that do not exist.
	Published(ctx context.Context, ids []int64) error
	// Backlog returns the number of rows in the outbox and when the oldest one was committed. The
	// time is zero if the outbox is empty.
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)
	// UpdatesAfter derives an account's updates again, oldest first. It returns the updates that
	// have deliveries with a seq greater than after, at most limit updates.
	UpdatesAfter(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error)
	// ChangedSince lists the accounts that changed at or after t with the seq and the chain of their
	// newest committed event, oldest change first. A page covers limit transactions and has each
	// account once. The first call passes an empty cursor; next is empty on the last page.
	ChangedSince(ctx context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error)
	// Positions returns the seq and the chain of each account's newest committed event, in the order
	// given. They are 0 for an unknown account.
	Positions(ctx context.Context, accounts []string) ([]bus.Position, error)
	// ChainsAt returns the chain of the event with each position's seq, in the order given. found is
	// false where the account has no event with that seq. It ignores the positions' chains.
	ChainsAt(ctx context.Context, positions []bus.Position) (chains []bus.Chain, found []bool, err error)
	// Generation grows when the source's connections reach another database than before, which may
	// lack commits of the earlier one.
	Generation() uint64
}
