package relay

import (
	"context"
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// errLedgerReplaced means that the source's connections reach another database than at the start of
// the pass. Rows that were read before must not be published.
var errLedgerReplaced = errors.New("the ledger's database was replaced")

// checkRead returns the error of a read from the source. It also returns an error if the source
// reaches another database than the one that this pass belongs to.
func (s *sweeper) checkRead(operation string, err error) error {
	if err != nil {
		return s.wrapSourceError(operation, err)
	}

	if s.src.Generation() != s.ledger.Load() {
		return errLedgerReplaced
	}

	return nil
}

func (s *sweeper) readPending(ctx context.Context, after int64) ([]bus.OutboxRow, error) {
	page, err := s.src.Pending(ctx, after, s.cfg.Page)
	return page, s.checkRead("read outbox", err)
}

func (s *sweeper) readUpdates(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error) {
	updates, err := s.src.UpdatesAfter(ctx, account, after, limit)
	return updates, s.checkRead("derive updates", err)
}

func (s *sweeper) readChanges(ctx context.Context, t time.Time, cursor string) (page []bus.Position, next string, err error) {
	page, next, err = s.src.ChangedSince(ctx, t, cursor, comparePage)
	return page, next, s.checkRead("list changed accounts", err)
}

func (s *sweeper) readPositions(ctx context.Context, accounts []string) ([]bus.Position, error) {
	if len(accounts) == 0 {
		return nil, nil
	}

	positions, err := s.src.Positions(ctx, accounts)
	return positions, s.checkRead("read positions", err)
}

// findInLedger reports for each position whether the ledger has an event with its seq and chain.
func (s *sweeper) findInLedger(ctx context.Context, positions []bus.Position) ([]bool, error) {
	if len(positions) == 0 {
		return nil, nil
	}

	chains, found, err := s.src.ChainsAt(ctx, positions)
	err = s.checkRead("read chains", err)
	if err != nil {
		return nil, err
	}

	same := make([]bool, len(positions))
	for i, p := range positions {
		same[i] = found[i] && chains[i] == p.Chain
	}

	return same, nil
}
