package relay

import (
	"context"
	"maps"
	"slices"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// fewEvents is the largest number of events for which an account that Redis does not know is
	// published from its first event. This costs little, and it covers accounts of which a failover
	// lost all events.
	fewEvents = 32
	// derivePage is how many updates are derived at once.
	derivePage = 64
)

// repairGaps publishes the missing updates before each refused one, account by account.
func (s *sweeper) repairGaps(ctx context.Context, refusals []refusal) error {
	repaired, err := s.repairRefused(ctx, refusals)
	if err != nil {
		return err
	}

	seen := map[string]bool{}
	unknown := map[string]int64{} // refused outbox row of accounts that need a starting point
	for _, refused := range refusals {
		account := refused.update.Account
		if seen[account] || repaired[account] {
			continue // the account's later refusals follow from its first one
		}

		seen[account] = true

		var err error
		last := refused.outcome.Last
		first := refused.update.First()

		switch {
		case refused.outcome.Status == bus.Unwritable:
			s.reportUnwritable(refused)
		case refused.outcome.Status == bus.Forked: // another process has repaired it
		case refused.outcome.Status == bus.PartlyPublished:
			s.reportPartlyPublished(refused)
			err = s.republishUpdates(ctx, account, last, refused.update.Last())
		case last >= 0:
			err = s.republishUpdates(ctx, account, last, first-1)
		case first-1 <= fewEvents:
			err = s.republishUpdates(ctx, account, 0, first-1)
		default:
			unknown[account] = refused.row
		}

		if err != nil {
			return err
		}
	}

	if len(unknown) == 0 {
		return nil
	}

	s.compare = true // Redis lost this account's hash, so it may have lost quiet accounts too
	return s.startFromOutbox(ctx, unknown)
}

// repairRefused compares the accounts whose refusal may mean that Redis has another history, and
// repairs the forks. It returns the accounts that are repaired.
func (s *sweeper) repairRefused(ctx context.Context, refusals []refusal) (repaired map[string]bool, err error) {
	suspects := map[string]bus.Chain{}
	for _, refused := range refusals {
		switch refused.outcome.Status {
		case bus.Forked, bus.PartlyPublished:
			suspects[refused.update.Account] = 0
		default:
		}
	}

	return s.repairSuspects(ctx, slices.Collect(maps.Keys(suspects)), nil)
}

func (s *sweeper) reportUnwritable(refused refusal) {
	s.metrics.errors.WithLabelValues(reasonUnwritable).Inc()
	s.logLimit.Do(func() {
		s.cfg.Logger.Error("an account update cannot be written: the balance key is not a hash or the update is invalid; it stays in the outbox",
			"key", s.keys.BalanceHash(refused.update.Account), "id", refused.update.Key)
	})
}

func (s *sweeper) reportPartlyPublished(refused refusal) {
	s.metrics.errors.WithLabelValues(reasonPartlyPublished).Inc()
	s.logLimit.Do(func() {
		s.cfg.Logger.Error("Redis has only some events of an account update, which no publisher causes; the relay publishes the others now",
			"key", s.keys.BalanceHash(refused.update.Account), "seq", refused.outcome.Last, "id", refused.update.Key)
	})
}

// republishUpdates derives the account's updates after seq last, up to seq upTo, from the ledger
// and publishes them. If Redis has some events of an update, only the other ones are published.
func (s *sweeper) republishUpdates(ctx context.Context, account string, last, upTo int64) error {
	for last < upTo {
		updates, err := s.readUpdates(ctx, account, last, derivePage)
		if err != nil {
			return err
		}

		var pubs []publish.Publication
		for _, u := range updates {
			if u.First() > upTo {
				break
			}

			if u.First() <= last {
				u = trimUpdate(u, last)
			}

			pubs = append(pubs, publish.Publication{Update: u})
		}

		if len(pubs) == 0 {
			return nil
		}

		outcomes, err := s.publishWithTimeout(ctx, pubs)
		if err != nil {
			return err
		}

		before := last
		s.countRepublished(outcomes)
		for i, o := range outcomes {
			if o.Status == bus.Forked {
				s.suspectFork(account, 0)
			}

			if o.Done() {
				last = max(last, pubs[i].Update.Last(), o.Last)
			}
		}

		if last == before {
			return nil // Redis changed meanwhile, so the next pass tries again
		}
	}

	return nil
}

// trimUpdate removes the deliveries up to seq last. The update gets another key, since its
// deduplication key may exist in Redis.
func trimUpdate(u bus.AccountUpdate, last int64) bus.AccountUpdate {
	skip := min(int(last-u.First()+1), len(u.Deliveries))
	u.Before = u.Deliveries[skip-1].Chain
	u.Deliveries = u.Deliveries[skip:]
	u.Key += "+rest"
	return u
}

// startFromOutbox publishes the first update in the outbox of each account as its starting point. A
// Redis that has lost its data since had acknowledged the earlier updates.
//
// An earlier row of the account may have become visible after the page with the refused row was
// read. If a row is visible, all earlier rows of its account are visible too. So the outbox is read
// again from its beginning up to the refused row: the first row of the account that is found now is
// the first one that exists.
func (s *sweeper) startFromOutbox(ctx context.Context, unknown map[string]int64) error {
	upTo := int64(0)
	for _, row := range unknown {
		upTo = max(upTo, row)
	}

	var pubs []publish.Publication
	err := s.scanOutbox(ctx, upTo, func(row *bus.OutboxRow) {
		for i := range row.Updates {
			u := &row.Updates[i]
			refused, ok := unknown[u.Account]
			if !ok || row.ID > refused {
				continue
			}

			delete(unknown, u.Account)
			pubs = append(pubs, publish.Publication{Update: *u, AsStartingPoint: true})
		}
	})

	if err != nil {
		return err
	}

	_, err = s.publishWithTimeout(ctx, pubs)
	return err
}

// scanOutbox reads the outbox from its beginning through row upTo.
func (s *sweeper) scanOutbox(ctx context.Context, upTo int64, visit func(*bus.OutboxRow)) error {
	after := int64(0)
	for {
		page, err := s.readPending(ctx, after)
		if err != nil {
			return err
		}

		for i := range page {
			if page[i].ID > upTo {
				return nil
			}

			visit(&page[i])
		}

		if len(page) < s.cfg.Page {
			return nil
		}

		after = page[len(page)-1].ID
	}
}
