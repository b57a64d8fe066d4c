package client

import (
	"fmt"
	"time"
)

// modelEvent is an event of a modelLedger. An event knows the one before it, so that a reader that
// was shown both can be checked.
type modelEvent struct {
	account string
	seq     int64
	chain   string
	before  string // the chain of the event before
	held    bool   // an escrow_held event; otherwise balance_updated
	after   [2]int64
}

// modelLedger has the history of some accounts. A history may go back and continue differently.
type modelLedger struct {
	history map[string][]*modelEvent // the present one, by account; begins with an event 0
	events  map[string]*modelEvent   // all that ever were, by chain
	created int
}

func newModelLedger(accounts ...string) *modelLedger {
	l := &modelLedger{history: map[string][]*modelEvent{}, events: map[string]*modelEvent{}}
	for _, a := range accounts {
		l.add(&modelEvent{account: a, chain: fmt.Sprintf("%016x", len(l.events))})
	}
	return l
}

func (l *modelLedger) add(e *modelEvent) {
	l.history[e.account] = append(l.history[e.account], e)
	l.events[e.chain] = e
}

func (l *modelLedger) head(account string) *modelEvent {
	h := l.history[account]
	return h[len(h)-1]
}

// appendEvent adds an event to an account's history.
func (l *modelLedger) appendEvent(account string, held bool) *modelEvent {
	last := l.head(account)
	l.created++
	e := &modelEvent{
		account: account,
		seq:     last.seq + 1,
		chain:   fmt.Sprintf("%016x", 1<<32+l.created),
		before:  last.chain,
		held:    held,
		after:   last.after,
	}
	e.after[0] = int64(l.created)
	if held {
		e.after[1] = last.after[1] + 1
	}
	l.add(e)
	return e
}

// goBack forgets the events after a seq.
func (l *modelLedger) goBack(account string, seq int64) {
	l.history[account] = l.history[account][:seq+1]
}

// has reports whether a position is in the present history.
func (l *modelLedger) has(account string, seq int64, chain string) bool {
	h := l.history[account]
	return seq < int64(len(h)) && h[seq].chain == chain
}

func (e *modelEvent) balance() *Balance {
	return &Balance{
		Account:     e.account,
		AccountID:   e.account[len("user:"):],
		AccountType: "user",
		Available:   e.after[0],
		Escrow:      e.after[1],
		Currency:    "points",
		Seq:         e.seq,
		Chain:       e.chain,
		UpdatedAt:   time.UnixMilli(0),
	}
}

// frame returns the event as a frame of a subscription.
func (e *modelEvent) frame(sub string) string {
	var fields string
	if e.held {
		fields = fmt.Sprintf(`"eventType":"wallet.escrow_held","userAvailableBalance":%d,"userEscrowBalance":%d`, e.after[0], e.after[1])
	} else {
		fields = fmt.Sprintf(`"eventType":"wallet.balance_updated","balanceState":"available","balanceAfter":%d`, e.after[0])
	}
	return fmt.Sprintf(`{"op":"event","sub":%q,"account":%q,"seq":%d,"chain":%q,"event":{"eventId":%q,%s}}`,
		sub, e.account, e.seq, e.chain, e.chain, fields)
}
