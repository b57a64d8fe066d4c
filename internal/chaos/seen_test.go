package chaos

import (
	"fmt"
	"sync"
)

// seenBalances remembers the newest event of each account that a gateway has delivered to a client.
// A balance that the gateway answers afterwards must not be older.
type seenBalances struct {
	mu   sync.Mutex // protects seqs
	seqs map[string]int64
}

func newSeenBalances() *seenBalances { return &seenBalances{seqs: map[string]int64{}} }

// seenKey names an account at one process of a gateway. Another process may be behind at first.
func seenKey(p *program, starts int, account string) string {
	return fmt.Sprint(p.name, " ", starts, " ", account)
}

// add records that a process of the gateway has delivered an event.
func (s *seenBalances) add(p *program, starts int, account string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := seenKey(p, starts, account)
	s.seqs[key] = max(s.seqs[key], seq)
}

func (s *seenBalances) newest(p *program, starts int, account string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seqs[seenKey(p, starts, account)]
}

// readGateway reads a balance from a gateway. It must be part of the history, and not older than what
// the gateway has delivered.
func (l *load) readGateway(account string, p *program) {
	starts := p.startCount()
	atLeast := l.seen.newest(p, starts, account)
	got, ok := l.readBalance(account, p)
	if !ok {
		return
	}
	if got.balance.Seq < atLeast && !l.lossy && p.startCount() == starts {
		l.w.journal.violate("balance of %s at %s: got seq %d, but it has delivered event %d before", account, p.name, got.balance.Seq, atLeast)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gatewayReads = append(l.gatewayReads, got)
}

// startCount returns how often the process was started.
func (p *program) startCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}
