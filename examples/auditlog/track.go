package main

import (
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// span is a gap in an account's seq: all numbers in [from, to] are missing. The zero span is empty.
type span struct{ from, to int64 }

func (s span) size() int64 {
	if s.from == 0 {
		return 0
	}
	return s.to - s.from + 1
}

// tracker records the seq numbers of each account.
type tracker struct {
	accounts map[string]*account
	missing  int64 // missing events of all accounts
}

type account struct {
	last   int64
	holes  []span // ascending
	marker string // id of the newest marker
}

// addRecord records an event or a marker. It reports whether it is new, and returns the gap that it
// revealed.
func (t *tracker) addRecord(rec *record) (isNew bool, hole span) {
	if rec.Type == bus.TypeHistoryChanged {
		return t.rewind(rec.Account, rec.Seq, rec.ID)
	}
	return t.addSeq(rec.Account, rec.Seq)
}

// rewind records a marker: the ledger went back, and the account's events after seq never happened.
// They stay in the file before the marker, and the events after it have their numbers again.
func (t *tracker) rewind(name string, seq int64, marker string) (isNew bool, hole span) {
	a := t.accounts[name]
	if a == nil {
		a = &account{}
		t.accounts[name] = a
	}
	if a.marker == marker {
		return false, span{}
	}

	if seq > a.last {
		hole = span{from: a.last + 1, to: seq}
		a.holes = append(a.holes, hole)
		t.missing += hole.size()
	}

	a.marker = marker
	a.last = seq
	t.dropHoles(a)
	return true, hole
}

// dropHoles removes the parts of the account's holes that are after its last event.
func (t *tracker) dropHoles(a *account) {
	var holes []span
	for _, h := range a.holes {
		t.missing -= h.size()
		h.to = min(h.to, a.last)
		if h.from <= h.to {
			t.missing += h.size()
			holes = append(holes, h)
		}
	}

	a.holes = holes
}

// addSeq records a seq. It reports whether the seq is new, and returns the gap that the seq
// revealed.
func (t *tracker) addSeq(name string, seq int64) (isNew bool, hole span) {
	a := t.accounts[name]
	if a == nil {
		a = &account{}
		t.accounts[name] = a
	}
	if seq <= a.last {
		return t.fillHole(a, seq), span{}
	}

	if seq > a.last+1 {
		hole = span{from: a.last + 1, to: seq - 1}
		a.holes = append(a.holes, hole)
		t.missing += hole.size()
	}

	a.last = seq
	return true, hole
}

// fillHole removes a seq from the hole that contains it. It reports whether there was one.
func (t *tracker) fillHole(a *account, seq int64) bool {
	for i, h := range a.holes {
		if seq < h.from || seq > h.to {
			continue
		}

		holes := append([]span(nil), a.holes[:i]...)
		if h.from < seq {
			holes = append(holes, span{from: h.from, to: seq - 1})
		}
		if seq < h.to {
			holes = append(holes, span{from: seq + 1, to: h.to})
		}

		a.holes = append(holes, a.holes[i+1:]...)
		t.missing--
		return true
	}

	return false
}

// checkComplete returns an error that wraps errMissing if events are missing.
func (t *tracker) checkComplete() error {
	if t.missing == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d", errMissing, t.missing)
}
