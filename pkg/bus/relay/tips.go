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
)

// tipCheck compares the newest entries of the streams with the ledger. If the ledger lost commits,
// these are the newest ones, so their entries are the newest in their streams.
type tipCheck struct {
	checked []string // id of the newest entry that was compared, by partition; empty: none
	due     time.Time
}

// restart makes the next check compare entries that were compared before.
func (t *tipCheck) restart() {
	clear(t.checked)
	t.due = time.Time{}
}

// checkTips compares the newest entries with the ledger if that is due. If one differs, all balance
// hashes must be compared.
func (s *sweeper) checkTips(ctx context.Context) error {
	if time.Now().Before(s.tips.due) {
		return nil
	}

	s.readForkedKey(ctx)
	tips, newest := s.readTips(ctx)
	positions := make([]bus.Position, 0, len(tips))
	for _, t := range tips {
		if t.Seq > 0 {
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
			s.suspectFork(p.Account, true)
			differ++
		}
	}

	if differ > 0 {
		s.forkLog.Do(func() {
			s.cfg.Logger.Error("the streams have events that the ledger does not have; comparing all accounts; see "+docsPage, "count", differ)
		})

		s.requireFullComparison(ctx)
	}

	for partition, id := range newest {
		s.tips.checked[partition] = id
	}

	s.tips.due = time.Now().Add(s.cfg.Check)
	return nil
}

// readTips returns the newest history of each account among the entries that are compared next, and
// the id of the newest entry of each partition. It skips partitions that do not answer: a lasting
// failure shows when the relay publishes.
func (s *sweeper) readTips(ctx context.Context) (map[string]tip, map[int]string) {
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
	newest := map[int]string{}
	for i, cmd := range cmds {
		entries, err := cmd.Result()
		if err != nil || len(entries) == 0 {
			continue
		}

		newest[i] = entries[0].ID
		for k := range entries {
			t, ok := parseTip(&entries[k])
			_, isKnown := tips[t.Account]
			if ok && !isKnown {
				tips[t.Account] = t
			}
		}
	}

	return tips, newest
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
