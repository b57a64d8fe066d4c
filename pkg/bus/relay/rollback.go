package relay

import "context"

// suspectRollback notes that a row was taken for a repeat though Redis had more than it.
// Mostly another process was faster; but the ledger may have lost its newest
// commits, and this row has a number again that was given away before. The next pass
// asks the ledger. Beyond some accounts it forgets: the next repeats come.
func (r *Relay) suspectRollback(account string, seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead == nil {
		r.ahead = make(map[string]int64)
	}
	if _, ok := r.ahead[account]; ok || len(r.ahead) < maxAheadChecks {
		r.ahead[account] = max(seq, r.ahead[account])
	}
}

// checkSuspects asks the ledger about what suspectAhead noted.
func (s *sweeper) checkSuspects(ctx context.Context) error {
	s.mu.Lock()
	suspects := s.ahead
	s.ahead = nil
	s.mu.Unlock()
	for account, seq := range suspects {
		if err := s.checkRollback(ctx, account, seq); err != nil {
			return err
		}
	}
	return nil
}

// checkRollback tells an account that has just changed from one whose past the ledger has lost.
func (s *sweeper) checkRollback(ctx context.Context, account string, seq int64) error {
	groups, err := s.src.UpdatesAfter(ctx, account, seq-1, 1)
	if err != nil {
		return s.sourceFailed("derive events", err)
	}
	if len(groups) == 0 {
		s.metrics.ahead.Inc()
		s.complain.Do(func() {
			s.cfg.Logger.Error("Redis has events that the ledger does not have, as after restoring a backup or a failover that lost commits; "+
				"new events are taken for repeats until the namespace's keys are deleted",
				"key", s.keys.BalanceHash(account), "seq", seq)
		})
	}
	return nil
}
