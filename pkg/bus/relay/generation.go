package relay

import "github.com/redroomrewards/realtime/pkg/bus"

// The ledger's database may be replaced while the relay runs: a standby takes over, or a backup is
// restored. The new database may lack commits of the former one. So what was read from the former
// one must not be published any more, and its outbox ids mean other rows.
//
// Relay.ledger is the generation of the source to which everything in memory belongs. Rows are
// queued and published only while the source still has this generation. The sweep alone moves it
// on, and empties the queues at the same time.

// isLedgerReplaced reports whether the source has another generation than the rows in memory.
func (r *Relay) isLedgerReplaced() bool { return r.src.Generation() != r.ledger.Load() }

// isFormer reports whether a row was committed at another database than the rows in memory. Its
// transaction may have been announced only after the database was replaced.
func (r *Relay) isFormer(row *bus.OutboxRow) bool {
	return row.Generation != 0 && row.Generation != r.ledger.Load()
}

// noticeReplacedLedger discards what is in memory if the source's database was replaced. It waits
// for a batch that is being published and for rows that are being deleted. After it returns, nothing
// of the former database can be published or deleted.
func (s *sweeper) noticeReplacedLedger() {
	generation := s.src.Generation()
	if generation == s.ledger.Load() {
		return
	}

	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.deleting.Lock()
	defer s.deleting.Unlock()

	s.mu.Lock()
	discarded := len(s.queue)
	s.queue = nil
	s.queueBytes = 0
	s.acks = nil
	s.ledger.Store(generation)
	s.mu.Unlock()

	s.metrics.deferred.Add(float64(discarded))
	s.cfg.Logger.Warn("the ledger's database was replaced; comparing its newest events with Redis", "count", discarded)
	s.tips.restart()
	s.comparison.restart()
	s.requestComparison()
}
