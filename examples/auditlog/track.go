package main

import "fmt"

// span is a hole in an account's seq: from and to are missing. The zero span is none.
type span struct{ from, to int64 }

func (s span) len() int64 {
	if s.from == 0 {
		return 0
	}
	return s.to - s.from + 1
}

// tracker knows what there is of each account.
type tracker struct {
	accounts map[string]*account
	missing  int64 // how many events, of all accounts
}

type account struct {
	last  int64
	holes []span // ascending
}

// take notes a seq. It is not fresh when it was there before; hole is what is missing
// before it and was not known to be.
func (t *tracker) take(name string, seq int64) (fresh bool, hole span) {
	a := t.accounts[name]
	if a == nil {
		a = &account{}
		t.accounts[name] = a
	}
	if seq <= a.last {
		return t.fill(a, seq), span{}
	}
	if seq > a.last+1 {
		hole = span{a.last + 1, seq - 1}
		a.holes = append(a.holes, hole)
		t.missing += hole.len()
	}
	a.last = seq
	return true, hole
}

// fill takes a seq out of the hole that it is in.
func (t *tracker) fill(a *account, seq int64) bool {
	for i, h := range a.holes {
		if seq < h.from || seq > h.to {
			continue
		}
		rest := append([]span(nil), a.holes[:i]...)
		if h.from < seq {
			rest = append(rest, span{h.from, seq - 1})
		}
		if seq < h.to {
			rest = append(rest, span{seq + 1, h.to})
		}
		a.holes = append(rest, a.holes[i+1:]...)
		t.missing--
		return true
	}
	return false
}

// complete is errMissing while something is missing.
func (t *tracker) complete() error {
	if t.missing == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d", errMissing, t.missing)
}
