package relay

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

const (
	// firstTips is how many of the newest entries of each partition are compared with the ledger at
	// the start, and after the ledger's database was replaced.
	firstTips = 100
	// nextTips is how many are compared every Config.Check, if there are new entries.
	nextTips = 16
	// beforeFirst is an id before that of any entry.
	beforeFirst = "0-0"
)

// tipCheck compares the newest entries of the streams with the ledger. If the ledger lost commits,
// these are the newest ones, so their entries are the newest in their streams.
type tipCheck struct {
	checked []string // id of the newest entry that was compared, by partition; empty: none was read
	newest  []tip    // the newest one of the ledger's entries that were compared, by partition
	due     time.Time
}

// restart makes the next check compare entries that were compared before.
func (t *tipCheck) restart() {
	clear(t.checked)
	clear(t.newest)
	t.due = time.Time{}
}

// checkTips compares the newest entries with the ledger if that is due. If one differs, all balance
// hashes must be compared. The newest entry of each stream is compared every time: the database may
// be replaced behind a connection pooler, so that the source does not notice it.
func (s *sweeper) checkTips(ctx context.Context) error {
	if time.Now().Before(s.tips.due) {
		return nil
	}

	s.readForkedKey(ctx)
	tips, checked := s.readTips(ctx)
	positions := make([]bus.Position, 0, len(tips)+len(s.tips.newest))
	for _, t := range tips {
		if t.Seq > 0 {
			positions = append(positions, t.Position)
		}
	}

	for partition, t := range s.tips.newest {
		if t.Seq > 0 && checked[partition].id == "" { // the stream has no newer entry
			positions = append(positions, t.Position)
		}
	}

	same, err := s.findInLedger(ctx, positions)
	if err != nil {
		return err
	}

	differ := 0
	for i, p := range positions {
		if !same[i] {
			s.suspectFork(p.Account, p.Chain)
			differ++
		}
	}

	if differ > 0 {
		s.forkLog.Do(func() {
			s.cfg.Logger.Error("the streams have events that the ledger does not have; comparing all accounts; see "+docsPage, "count", differ)
		})

		s.requireFullComparison(ctx)
		clear(s.tips.newest) // the same entries must not require another comparison
	}

	for partition, c := range checked {
		s.tips.checked[partition] = c.id
		if differ == 0 && c.newest.Account != "" {
			s.tips.newest[partition] = c.newest
		}
	}

	s.tips.due = time.Now().Add(s.cfg.Check)
	return nil
}

// checkedTip is what tipCheck remembers of a partition.
type checkedTip struct {
	id     string // of the newest entry, or beforeFirst
	newest tip    // of the newest entry that comes from the ledger
}

// readTips returns the newest history of each account among the entries that are compared next, and
// what to remember of each partition with new entries. It skips partitions that do not answer: a
// lasting failure shows when the relay publishes.
func (s *sweeper) readTips(ctx context.Context) (map[string]tip, map[int]checkedTip) {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.XMessageSliceCmd, s.keys.Partitions)
	for i := range cmds {
		start := "-"
		count := int64(firstTips)
		if s.tips.checked[i] != "" {
			start = "(" + s.tips.checked[i]
			count = nextTips
		}

		cmds[i] = pipe.XRevRangeN(limited, s.keys.Stream(i), "+", start, count)
	}

	_, _ = pipe.Exec(limited) // each command has its own error

	tips := map[string]tip{}
	checked := map[int]checkedTip{}
	for i, cmd := range cmds {
		entries, err := cmd.Result()
		if err != nil {
			continue
		}

		if len(entries) == 0 {
			if s.tips.checked[i] == "" {
				checked[i] = checkedTip{id: beforeFirst}
			}

			continue
		}

		c := checkedTip{id: entries[0].ID}
		for k := range entries {
			t, ok := parseTip(&entries[k])
			if ok && c.newest.Account == "" {
				c.newest = t
			}

			_, isKnown := tips[t.Account]
			if ok && !isKnown {
				tips[t.Account] = t
			}
		}

		checked[i] = c
	}

	return tips, checked
}

// readForkedKey starts a full comparison if another process, or this one before a restart, has not
// finished one. It ignores errors: the next check reads the key again.
func (s *sweeper) readForkedKey(ctx context.Context) {
	if s.comparison.isRequired {
		return
	}

	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	value, err := s.rdb.Get(limited, s.keys.Forked()).Result()
	if err == nil {
		s.startComparison(value)
	}
}
