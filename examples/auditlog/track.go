package main

import "fmt"

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
	last  int64
	holes []span // ascending
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
