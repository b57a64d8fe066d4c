package relay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// rewindPage is how many accounts are rewound at once.
	rewindPage = 64
	// rewindReads is how many reads from the ledger run at the same time for them.
	rewindReads = 4
	// forgetPage is how many deduplication keys are deleted at once.
	forgetPage = 1000
	// docsPage is the page that log lines about forks refer to.
	docsPage = "docs/history.md"
)

// repairForks rewinds accounts to their common points, partition by partition, and publishes what
// follows in the ledger.
func (s *sweeper) repairForks(ctx context.Context, forks []*fork) error {
	byPartition := map[int][]*fork{}
	for _, f := range forks {
		partition := s.keys.Partition(f.account)
		byPartition[partition] = append(byPartition[partition], f)
	}

	for partition, group := range byPartition {
		err := s.repairPartition(ctx, partition, group)
		if err != nil {
			return err
		}
	}

	return nil
}

// repairPartition repairs the forks of one partition.
func (s *sweeper) repairPartition(ctx context.Context, partition int, forks []*fork) error {
	err := s.findCommonPoints(ctx, partition, forks)
	if err != nil {
		return err
	}

	for page := range slices.Chunk(forks, rewindPage) {
		err := s.rewindForks(ctx, page)
		if err != nil {
			return err
		}
	}

	return nil
}

// rewindPlan is what must be written for one fork.
type rewindPlan struct {
	fork    *fork
	to      bus.Balance         // the state after the common point
	updates []bus.AccountUpdate // the next ones in the ledger, at most derivePage
	isValid bool                // the ledger still has the common point
}

// rewindForks writes the markers of forks, sets their hashes, and publishes what follows. It
// publishes also for an account whose hash has changed: another process, or this one before its
// reply was lost, has rewound it.
func (s *sweeper) rewindForks(ctx context.Context, forks []*fork) error {
	plans, err := s.planRewinds(ctx, forks)
	if err != nil {
		return err
	}

	for i := range plans {
		err := s.forgetPublished(ctx, plans[i].fork)
		if err != nil {
			return err
		}
	}

	rewinds := make([]publish.Rewind, len(plans))
	for i, plan := range plans {
		rewinds[i] = publish.Rewind{
			Account:   plan.fork.account,
			HashSeq:   plan.fork.hash.seqText,
			HashChain: plan.fork.hash.chainText,
			Once:      plan.dedupKey(),
			To:        plan.to,
			Again:     listKeys(plan.updates),
		}
	}

	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	done, err := s.pub.Rewind(limited, rewinds)
	for i, plan := range plans {
		if done[i] {
			s.reportFork(plan)
		}
	}

	if err != nil {
		return s.recordFailedRewind(ctx, forks[0].account, err)
	}

	return s.publishPlans(ctx, plans)
}

// recordFailedRewind records that Redis failed during the rewind of an account.
func (s *sweeper) recordFailedRewind(ctx context.Context, account string, err error) error {
	s.metrics.errors.WithLabelValues(reasonRedis).Inc()
	if ctx.Err() != nil {
		return err
	}

	return s.recordFailedPartition(ctx, s.keys.Partition(account), err)
}

// forgetPublished deletes the deduplication keys of the updates that follow the common point in the
// stream. The ledger may have some of them, or may have them later, if it had this history earlier.
// With their keys they would count as duplicates, and the stream would have a hole.
func (s *sweeper) forgetPublished(ctx context.Context, f *fork) error {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	for keys := range slices.Chunk(f.published, forgetPage) {
		err := s.pub.ForgetUpdates(limited, f.account, keys)
		if err != nil {
			return s.recordFailedRewind(ctx, f.account, err)
		}
	}

	return nil
}

// planRewinds reads the states at the common points and the updates that follow.
func (s *sweeper) planRewinds(ctx context.Context, forks []*fork) ([]rewindPlan, error) {
	plans := make([]rewindPlan, len(forks))
	var skipped atomic.Int64
	var reads errgroup.Group
	reads.SetLimit(rewindReads)
	for i, f := range forks {
		reads.Go(func() error {
			plan, err := s.planRewind(ctx, f)
			plans[i] = plan
			if err == nil && !plan.isValid {
				skipped.Add(1)
				s.suspectFork(f.account, cmp.Or(f.void, f.hash.chain))
			}

			return err
		})
	}

	err := reads.Wait()
	if skipped.Load() > 0 {
		plans = slices.DeleteFunc(plans, func(p rewindPlan) bool { return !p.isValid })
		sendToken(s.sweepNow)
	}

	return plans, err
}

// planRewind reads the state at the fork's common point. A common point within a transaction moves
// to the transaction's beginning, since the ledger has no balance in between.
func (s *sweeper) planRewind(ctx context.Context, f *fork) (rewindPlan, error) {
	plan := rewindPlan{fork: f, to: bus.Balance{Account: f.account}}
	common := f.common
	if f.newest.Seq == 0 {
		plan.isValid = true
		return plan, nil
	}

	for common.Seq > 0 {
		updates, err := s.readUpdates(ctx, f.account, common.Seq-1, derivePage+1)
		if err != nil || len(updates) == 0 || updates[0].First() > common.Seq {
			return plan, err
		}

		u := &updates[0]
		if u.Last() == common.Seq {
			plan.isValid = common.Chain == 0 || common.Chain == u.Chain()
			plan.to = u.Balance
			plan.to.Account = f.account
			plan.to.Seq = u.Last()
			plan.to.Chain = u.Chain()
			plan.updates = updates[1:]
			return plan, nil
		}

		common = bus.Position{Account: f.account, Seq: u.First() - 1, Chain: u.Before}
	}

	updates, err := s.readUpdates(ctx, f.account, 0, derivePage)
	plan.updates = updates
	plan.isValid = err == nil
	return plan, err
}

// dedupKey returns the deduplication key of a rewind that deletes the hash. It names the newest event
// that the ledger does not have. It is empty for other rewinds, of which the hash keeps the state.
func (p *rewindPlan) dedupKey() string {
	if p.to.Seq > 0 {
		return ""
	}

	void := cmp.Or(p.fork.void, p.fork.hash.chain)
	return "rewind:" + p.fork.account + ":" + void.String()
}

func listKeys(updates []bus.AccountUpdate) []string {
	keys := make([]string, len(updates))
	for i := range updates {
		keys[i] = updates[i].Key
	}

	return keys
}

func (s *sweeper) reportFork(plan rewindPlan) {
	s.metrics.forks.Inc()
	s.forkLog.Do(func() {
		s.cfg.Logger.Error("Redis had events that the ledger does not have; the account was set back to the newest common event; see "+docsPage,
			"account", plan.fork.account, "from", plan.fork.hash.seq, "seq", plan.to.Seq)
	})
}

// publishPlans publishes what follows the common points.
func (s *sweeper) publishPlans(ctx context.Context, plans []rewindPlan) error {
	var pubs []publish.Publication
	for _, plan := range plans {
		for _, u := range plan.updates {
			pubs = append(pubs, publish.Publication{Update: u})
		}
	}

	outcomes, err := s.publishWithTimeout(ctx, pubs)
	if err != nil {
		return fmt.Errorf("publish after the common point: %w", err)
	}

	s.countRepublished(outcomes)
	for i, o := range outcomes {
		if o.Status == bus.Forked {
			s.suspectFork(pubs[i].Update.Account, 0)
		}
	}

	for _, plan := range plans {
		if len(plan.updates) < derivePage {
			continue
		}

		last := plan.updates[len(plan.updates)-1].Last()
		err := s.republishUpdates(ctx, plan.fork.account, last, plan.fork.newest.Seq)
		if err != nil {
			return err
		}
	}

	return nil
}

func (s *sweeper) countRepublished(outcomes []publish.Outcome) {
	for _, o := range outcomes {
		if o.Status == bus.Published {
			s.metrics.republished.Inc()
		}
	}
}
