package chaos

import (
	"fmt"
	"sync"
	"time"
)

// seenBalances remembers the newest event of each account that a gateway has delivered to a client.
// A balance that the gateway answers afterwards must not be older.
type seenBalances struct {
	mu   sync.Mutex // protects seqs
	seqs map[string]int64
}

func newSeenBalances() *seenBalances { return &seenBalances{seqs: map[string]int64{}} }

func seenKey(gateway int, account string) string { return fmt.Sprint(gateway, " ", account) }

// add records that the gateway has delivered an event.
func (s *seenBalances) add(gateway int, account string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := seenKey(gateway, account)
	s.seqs[key] = max(s.seqs[key], seq)
}

func (s *seenBalances) newest(gateway int, account string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seqs[seenKey(gateway, account)]
}

// forget forgets what a gateway has delivered, because its process has ended.
func (s *seenBalances) forget(gateway int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.seqs {
		var number int
		var account string
		_, _ = fmt.Sscan(key, &number, &account) // seenKey wrote it
		if number == gateway {
			delete(s.seqs, key)
		}
	}
}

// readGateway reads a balance from a gateway. It must be part of the history, and not older than what
// the gateway has delivered.
func (l *load) readGateway(account string, gateway int) {
	p := l.w.gateways[gateway]
	starts := p.startCount()
	atLeast := l.seen.newest(gateway, account)
	got := &read{account: account, source: p.name, began: l.since()}
	status, body := l.w.get("http://"+p.public+"/v1/accounts/"+account+"/balance", l.token, 5*time.Second)
	got.ended = l.since()
	if !l.decodeBalance(got, status, body) {
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
