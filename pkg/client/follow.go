package client

import (
	"encoding/json"
	"maps"
	"slices"
)

// This file checks that each frame of a subscription follows the ones before it.

// allAccounts stands for every account in a subscription.
const allAccounts = "*"

// handleSubscribed begins or resumes each account. The caller holds mu.
func (s *subscription) handleSubscribed(f *serverFrame) {
	s.stopTimer()
	s.isOpen = true
	if s.filter.followsAll() {
		s.beginAll()
		return
	}
	s.owedResyncs = map[string]subscribedAccount{}
	s.forgetOtherAccounts(f.Accounts)
	for i := range f.Accounts {
		s.beginAccount(f.Accounts[i])
		if s.name != f.Sub {
			return // paused, or subscribing again
		}
	}
}

// beginAll begins a subscription to all accounts. Events between two of them may be missing.
func (s *subscription) beginAll() {
	if s.wasOpen {
		s.addResync(Item{Account: allAccounts, Resync: &Resync{Reason: EventsMissed}})
	}
	s.wasOpen = true
}

// forgetOtherAccounts forgets the accounts that the token does not have any more.
func (s *subscription) forgetOtherAccounts(accounts []subscribedAccount) {
	maps.DeleteFunc(s.positions, func(account string, _ Position) bool {
		isSame := func(a subscribedAccount) bool { return a.Account == account }
		return !slices.ContainsFunc(accounts, isSame)
	})
}

// beginAccount handles one account of a frame subscribed.
func (s *subscription) beginAccount(a subscribedAccount) {
	known, isKnown := s.positions[a.Account]
	at := Position{Seq: a.Seq, Chain: a.Chain}
	after, isResumed := s.sentAfter[a.Account]
	switch {
	case !isKnown:
		s.positions[a.Account] = at
		s.sink.start(a.Account, at, a.Snapshot)
	case !isResumed:
		s.replaceAccount(a)
	case !a.Recovered:
		s.owedResyncs[a.Account] = a
	case a.Seq != after || !isSameChain(a.Chain, known.Chain):
		s.resubscribe("the gateway resumed from another position")
	default:
		s.positions[a.Account] = at // a chain may have been unknown
		s.sink.resume(a.Account)
	}
}

// isSameChain reports whether two chains may be the same. An empty one is unknown.
func isSameChain(a, b string) bool { return a == b || a == "" || b == "" }

// replaceAccount makes a resync of a snapshot.
func (s *subscription) replaceAccount(a subscribedAccount) bool {
	last := s.positions[a.Account]
	reason := HistoryUnavailable
	if a.Seq < last.Seq || a.Seq == last.Seq && !isSameChain(a.Chain, last.Chain) {
		reason = HistoryChanged
	}
	added := s.addResync(Item{
		Account: a.Account,
		Seq:     a.Seq,
		Chain:   a.Chain,
		Resync:  &Resync{Reason: reason, Balance: a.Snapshot},
	})
	if added {
		s.failures = min(s.failures, maxResumes) // the account can be resumed from here
	}
	return added
}

// handleEvent passes the account's next event on. The caller holds mu.
func (s *subscription) handleEvent(f *serverFrame) {
	item := Item{Account: f.Account, Seq: f.Seq, Chain: f.Chain, Event: f.event, JSON: json.RawMessage(f.Event)}
	if s.filter.followsAll() {
		s.addEvent(item)
		return
	}

	owed, isOwed := s.owedResyncs[f.Account]
	if isOwed {
		delete(s.owedResyncs, f.Account)
		if !s.replaceAccount(owed) {
			return
		}
	}
	last, isKnown := s.positions[f.Account]
	switch {
	case !isKnown:
		s.resubscribe("the gateway sent an event of another account")
	case f.Seq == last.Seq && !isSameChain(f.Chain, last.Chain):
		s.resubscribe("the chain of an event differs from the one before")
	case f.Seq <= last.Seq: // a repeat
	case f.Seq > last.Seq+1 && !s.filter.hasHoles():
		s.resubscribe("events are missing")
	default:
		s.addEvent(item)
	}
}

// addEvent gives an event to the sink.
func (s *subscription) addEvent(item Item) {
	if !s.sink.addEvent(item) {
		s.pause()
		return
	}
	s.noteProgress()
	if !s.filter.followsAll() {
		s.positions[item.Account] = Position{Seq: item.Seq, Chain: item.Chain}
	}
}

// handleResync replaces an account's state. The caller holds mu.
func (s *subscription) handleResync(f *serverFrame) {
	last, isKnown := s.positions[f.Account]
	delete(s.owedResyncs, f.Account)
	switch {
	case !isKnown || f.Snapshot == nil:
		s.resubscribe("the gateway sent a resync without an account or a snapshot")
	case f.Seq < last.Seq && f.Reason != string(HistoryChanged):
		s.resubscribe("the gateway sent a resync to an older position")
	default:
		s.addResync(Item{
			Account: f.Account,
			Seq:     f.Seq,
			Chain:   f.Chain,
			Resync:  &Resync{Reason: ResyncReason(f.Reason), Balance: f.Snapshot},
		})
	}
}

// addResync gives a resync to the sink. It returns false if the sink has no room.
func (s *subscription) addResync(item Item) bool {
	if !s.sink.addResync(item) {
		s.pause()
		return false
	}
	if !s.filter.followsAll() {
		s.positions[item.Account] = Position{Seq: item.Seq, Chain: item.Chain}
	}
	return true
}
