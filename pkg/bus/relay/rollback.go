package relay

import "context"

// suspectRollback records an account whose update was answered Duplicate although Redis has a
// higher seq. Usually another process published first. But the ledger may have lost its newest
// commits and used the update's seq a second time. The next pass of the sweep checks this in the
// ledger. At most maxRollbackChecks accounts are recorded; a later duplicate records the others.
func (r *Relay) suspectRollback(account string, seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.suspects == nil {
		r.suspects = make(map[string]int64)
	}

	_, known := r.suspects[account]
	if known || len(r.suspects) < maxRollbackChecks {
		r.suspects[account] = max(seq, r.suspects[account])
	}
}

// checkSuspects checks the accounts that suspectRollback recorded.
func (s *sweeper) checkSuspects(ctx context.Context) error {
	s.mu.Lock()
	suspects := s.suspects
	s.suspects = nil
	s.mu.Unlock()

	for account, seq := range suspects {
		err := s.checkRollback(ctx, account, seq)
		if err != nil {
			return err
		}
	}

	return nil
}

// checkRollback reports an account that has the seq in Redis but not in the ledger. An account that
// has just changed has it in both.
func (s *sweeper) checkRollback(ctx context.Context, account string, seq int64) error {
	updates, err := s.src.UpdatesAfter(ctx, account, seq-1, 1)
	if err != nil {
		return s.wrapSourceError("derive updates", err)
	}

	if len(updates) > 0 {
		return nil
	}

	s.metrics.ahead.Inc()
	s.logLimit.Do(func() {
		s.cfg.Logger.Error("Redis has events that the ledger does not have: the ledger was restored from a backup, or a failover lost commits; "+
			"new events count as duplicates until the namespace's keys are deleted",
			"key", s.keys.BalanceHash(account), "seq", seq)
	})

	return nil
}
