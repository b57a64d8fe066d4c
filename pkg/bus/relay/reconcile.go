package relay

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// comparePage is how many transactions are read at once to find the accounts to compare.
	comparePage = 1000
	// maxCompared bounds the accounts that a comparison remembers in order to compare each one
	// once.
	maxCompared = 1 << 20
)

// reconciliation is the state of one comparison of accounts with their balance hashes.
type reconciliation struct {
	complete bool            // no account needs another comparison
	compared map[string]bool // accounts
}

// reconcileAccounts compares the accounts that changed since t with their balance hashes. It
// publishes the updates that Redis has lost, since a quiet account has no new event that would
// reveal the gap. If an account with a long history has no hash, its newest update is published as
// a starting point, so that its snapshot exists again. A gateway that has this event already drops
// it; another one detects by seq that events are missing.
//
// complete is false if some accounts must be compared again.
func (s *sweeper) reconcileAccounts(ctx context.Context, t time.Time) (complete bool, err error) {
	rec := reconciliation{complete: true, compared: map[string]bool{}}
	cursor := ""
	for {
		page, next, err := s.readChanges(ctx, t, cursor)
		if err != nil {
			return false, err
		}

		page = slices.DeleteFunc(page, func(p bus.Position) bool { return rec.compared[p.Account] })
		err = s.reconcilePage(ctx, page, &rec)
		if err != nil {
			return false, err
		}

		if next == "" {
			return rec.complete, nil
		}

		if len(rec.compared) > maxCompared {
			clear(rec.compared)
		}

		for _, p := range page {
			rec.compared[p.Account] = true
		}

		cursor = next
	}
}

// reconcilePage compares one page of accounts.
func (s *sweeper) reconcilePage(ctx context.Context, page []bus.Position, rec *reconciliation) error {
	accounts := make([]string, len(page))
	for i, p := range page {
		accounts[i] = p.Account
	}

	hashes, err := s.readHashes(ctx, accounts)
	if err != nil {
		return err
	}

	missing := map[string]int64{} // seq in the ledger of accounts without a hash
	for i, p := range page {
		seq := hashes[i].seq
		switch {
		case seq == seqInvalid:
		case seq == p.Seq && hashes[i].hasChain && hashes[i].chain == p.Chain:
		case seq >= p.Seq: // usually the account has just changed
			s.suspectFork(p.Account, 0)
			sendToken(s.sweepNow)
		case seq >= 0:
			err = s.republishUpdates(ctx, p.Account, seq, p.Seq)
		case p.Seq <= fewEvents:
			err = s.republishUpdates(ctx, p.Account, 0, p.Seq)
		default:
			missing[p.Account] = p.Seq
		}

		if err != nil {
			return err
		}
	}

	if len(missing) == 0 {
		return nil
	}

	err = s.startQuietAccounts(ctx, missing)
	if err != nil {
		return err
	}

	rec.complete = rec.complete && len(missing) == 0
	return nil
}

// startQuietAccounts publishes the newest update of accounts that Redis does not know, and removes
// them from the map. An account with rows in the outbox is not quiet, so it stays in the map: the
// sweep publishes its first row as its starting point.
func (s *sweeper) startQuietAccounts(ctx context.Context, missing map[string]int64) error {
	// When the account was read, all of its outbox rows up to this seq were visible. A row that
	// this scan does not find has therefore been published.
	waiting := map[string]bool{}
	err := s.scanOutbox(ctx, math.MaxInt64, func(row *bus.OutboxRow) {
		for i := range row.Updates {
			account := row.Updates[i].Account
			if _, ok := missing[account]; ok {
				waiting[account] = true
			}
		}
	})

	if err != nil {
		return err
	}

	var pubs []publish.Publication
	for account, seq := range missing {
		if waiting[account] {
			continue
		}

		updates, err := s.readUpdates(ctx, account, seq-1, 1)
		if err != nil {
			return err
		}

		if len(updates) == 1 {
			pubs = append(pubs, publish.Publication{Update: updates[0], AsStartingPoint: true})
		}

		delete(missing, account)
	}

	s.metrics.republished.Add(float64(len(pubs)))
	_, err = s.publishWithTimeout(ctx, pubs)
	return err
}
