package relay

import (
	"context"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// fewEvents: an account with no more events than these is published from its
	// first event on when Redis knows nothing of it. It costs little, and closes the
	// case of an account whose whole life fell into what a failover lost.
	fewEvents = 32
	// derivePage is how many groups are derived at once.
	derivePage = 64
)

// repair brings Redis to where the refused groups can follow, account by account.
func (s *sweeper) repair(ctx context.Context, refused []refusal) error {
	seen := map[string]bool{}
	unknown := map[string]int64{} // accounts that need a base -> outbox row that was refused
	for _, f := range refused {
		account := f.group.Account
		if seen[account] {
			continue // the first refusal decides; the others follow from it
		}
		seen[account] = true
		var err error
		switch o := f.outcome; {
		case o.Status == bus.Unwritable:
			s.metrics.errors.WithLabelValues("unwritable").Inc()
			s.complain.Do(func() {
				s.cfg.Logger.Error("a group cannot be written: the account's balance key in Redis is no hash, or the group is broken; it stays in the outbox",
					"key", s.keys.BalanceHash(account), "group", f.group.Key)
			})
		case o.Status == bus.PartlyPublished:
			s.metrics.errors.WithLabelValues("partly_published").Inc()
			s.complain.Do(func() {
				s.cfg.Logger.Error("Redis has only some of a group's events, which no publisher brings about; the others are published now",
					"key", s.keys.BalanceHash(account), "seq", o.Last, "group", f.group.Key)
			})
			err = s.derive(ctx, account, o.Last, f.group.Last())
		case o.Last >= 0:
			err = s.derive(ctx, account, o.Last, f.group.First()-1)
		case f.group.First()-1 <= fewEvents:
			err = s.derive(ctx, account, 0, f.group.First()-1)
		default:
			unknown[account] = f.row
		}
		if err != nil {
			return err
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	s.compare = true // an account with a past is gone: so are perhaps quiet ones
	return s.startFromOutbox(ctx, unknown)
}

// derive publishes the account's groups after seq last, as the ledger derives
// them, up to seq upTo. A group that Redis has in part is cut: what readers
// have had keeps its number, what they lack follows.
func (s *sweeper) derive(ctx context.Context, account string, last, upTo int64) error {
	for last < upTo {
		groups, err := s.src.UpdatesAfter(ctx, account, last, derivePage)
		if err != nil {
			return s.sourceFailed("derive events", err)
		}
		var pubs []publish.Publication
		for _, g := range groups {
			if g.First() > upTo {
				break
			}
			if g.First() <= last {
				g = cutGroup(g, last)
			}
			pubs = append(pubs, publish.Publication{Update: g})
		}
		if len(pubs) == 0 {
			return nil
		}
		outcomes, err := s.publish(ctx, pubs)
		if err != nil {
			return err
		}
		before := last
		for i, o := range outcomes {
			if o.Status == bus.Published {
				s.metrics.republished.Inc()
			}
			if o.Done() {
				last = max(last, pubs[i].Update.Last(), o.Last)
			}
		}
		if last == before {
			return nil // Redis changed again meanwhile; the next pass sees how
		}
	}
	return nil
}

// cutGroup leaves out deliveries up to seq last. The rest is another group to
// Redis' dedup keys.
func cutGroup(g bus.AccountUpdate, last int64) bus.AccountUpdate {
	skip := int(last - g.First() + 1)
	g.Deliveries = g.Deliveries[min(skip, len(g.Deliveries)):]
	g.Key += "+rest"
	return g
}

// startFromOutbox publishes for each account its first group in the outbox as a starting
// point. What was before it was acknowledged by a Redis that has lost it since.
//
// That a group is the first one of its account needs proof: an earlier row may
// have become visible after the page was read that had this one. A row that
// is visible has all earlier rows of its account visible. So the outbox is read
// again from its beginning, up to the row that was refused: the first row of the
// account that shows up now is the first there is.
func (s *sweeper) startFromOutbox(ctx context.Context, unknown map[string]int64) error {
	upTo := int64(0)
	for _, row := range unknown {
		upTo = max(upTo, row)
	}
	var pubs []publish.Publication
	err := s.scan(ctx, upTo, func(row *bus.OutboxRow) {
		for i := range row.Updates {
			g := &row.Updates[i]
			refused, ok := unknown[g.Account]
			if !ok || row.ID > refused {
				continue
			}
			delete(unknown, g.Account)
			pubs = append(pubs, publish.Publication{Update: *g, AsStartingPoint: true})
		}
	})
	if err != nil {
		return err
	}
	_, err = s.publish(ctx, pubs)
	return err
}

// scan reads the outbox from its beginning through row upTo.
func (s *sweeper) scan(ctx context.Context, upTo int64, visit func(*bus.OutboxRow)) error {
	for after := int64(0); ; {
		page, err := s.src.Pending(ctx, after, s.cfg.Page)
		if err != nil {
			return s.sourceFailed("read outbox", err)
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
