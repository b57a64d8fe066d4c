package recent

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A modelAccount is an account of a simple model: its newest seq and the seqs of its events in
// memory, in order.
type modelAccount struct {
	run    Run
	newest int64
	kept   []int64
	stale  int                 // number of its events in memory from before the last reset
	chains map[int64]bus.Chain // of all its events since the last reset
}

// reset makes the account continue after seq with another history.
func (a *modelAccount) reset(seq int64, chain bus.Chain) {
	a.run.Reset(seq, chain)
	a.stale += len(a.kept)
	a.kept = nil
	a.newest = seq
	a.chains = map[int64]bus.Chain{seq: chain}
}

// removeOldest removes the oldest event in memory.
func (a *modelAccount) removeOldest() {
	if a.stale > 0 {
		a.stale--
		return
	}
	a.kept = a.kept[1:]
}

// keptWithoutGap returns the last seqs of kept that follow each other without a gap. It returns nil
// when the newest event is not in memory.
func (a *modelAccount) keptWithoutGap() []int64 {
	if len(a.kept) == 0 || a.kept[len(a.kept)-1] != a.newest {
		return nil
	}
	first := len(a.kept) - 1
	for first > 0 && a.kept[first-1] == a.kept[first]-1 {
		first--
	}
	return a.kept[first:]
}

// TestMemoryAgainstModel adds random events of a few accounts, with gaps and resets, and compares
// the results of all methods with a simple model.
func TestMemoryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Memory{
			MaxEvents: rapid.IntRange(1, 40).Draw(t, "MaxEvents"),
			MaxBytes:  rapid.IntRange(1, 20_000).Draw(t, "MaxBytes"),
		}
		accounts := make([]*modelAccount, 3)
		for i := range accounts {
			accounts[i] = &modelAccount{chains: map[int64]bus.Chain{}}
		}
		var order []*Event // oldest first
		owner := map[*Event]*modelAccount{}

		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			account := accounts[rapid.IntRange(0, len(accounts)-1).Draw(t, "account")]
			chain := bus.Chain(rapid.Uint64().Draw(t, "chain"))
			if rapid.IntRange(0, 9).Draw(t, "reset") == 0 {
				seq := rapid.Int64Range(0, account.newest).Draw(t, "reset to")
				if seq == 0 {
					chain = 0
				}
				account.reset(seq, chain)
				continue
			}
			step := rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 7}).Draw(t, "seq step")
			event := &Event{
				Seq:   account.newest + step,
				Chain: chain,
				Body:  bytes.Repeat([]byte("x"), rapid.IntRange(1, 300).Draw(t, "body")),
			}
			m.Add(&account.run, event)
			account.newest = event.Seq
			account.kept = append(account.kept, event.Seq)
			account.chains[event.Seq] = chain
			order = append(order, event)
			owner[event] = account

			for m.IsFull() {
				oldest, position := m.RemoveOldest()
				if oldest != order[0] {
					t.Fatalf("RemoveOldest: got seq %d, want %d", oldest.Seq, order[0].Seq)
				}
				order = order[1:]
				owner[oldest].run.Forget(oldest, position)
				owner[oldest].removeOldest()
			}
			checkBounds(t, &m, order)
			for _, a := range accounts {
				checkRun(t, &m, a)
			}
		}
	})
}

func checkBounds(t *rapid.T, m *Memory, order []*Event) {
	size := 0
	for _, e := range order {
		size += e.memorySize()
	}
	if m.Len() != len(order) {
		t.Fatalf("Len: got %d, want %d", m.Len(), len(order))
	}
	if m.Bytes() != size {
		t.Fatalf("Bytes: got %d, want %d", m.Bytes(), size)
	}
	if m.Len() > m.MaxEvents {
		t.Fatalf("Len: got %d, want at most %d", m.Len(), m.MaxEvents)
	}
}

func checkRun(t *rapid.T, m *Memory, a *modelAccount) {
	kept := a.keptWithoutGap()
	if a.run.Newest() != a.newest {
		t.Fatalf("Newest: got %d, want %d", a.run.Newest(), a.newest)
	}
	if a.run.IsEmpty() != (len(kept) == 0) {
		t.Fatalf("IsEmpty: got %t, want %t", a.run.IsEmpty(), len(kept) == 0)
	}
	for seq := int64(0); seq <= a.newest+2; seq++ {
		holds := slices.Contains(kept, seq)
		if a.run.Holds(seq) != holds {
			t.Fatalf("Holds(%d): got %t, want %t with events %v", seq, !holds, holds, kept)
		}
		holdsAfter := slices.Contains(kept, seq+1) || (len(kept) > 0 && seq == a.newest)
		checkChain(t, m, a, seq, holds || seq == a.newest)
		if a.run.HoldsAfter(seq) != holdsAfter {
			t.Fatalf("HoldsAfter(%d): got %t, want %t with events %v",
				seq, !holdsAfter, holdsAfter, kept)
		}
	}
	for i, next := range kept {
		limit := len(kept)
		got := listSeqs(m.AppendSince(nil, &a.run, next, limit, 1<<30))
		if !slices.Equal(got, kept[i:]) {
			t.Fatalf("AppendSince(%d): got %v, want %v", next, got, kept[i:])
		}
		got = listSeqs(m.AppendSince(nil, &a.run, next, limit, 0))
		if !slices.Equal(got, kept[i:i+1]) {
			t.Fatalf("AppendSince(%d) with 0 bytes: got %v, want %v", next, got, kept[i:i+1])
		}
	}
}

// checkChain checks the chain at the seq. mustBeKnown is true if the event is in memory or is the
// newest one. The chain before the first event in memory may be known too.
func checkChain(t *rapid.T, m *Memory, a *modelAccount, seq int64, mustBeKnown bool) {
	chain, known := m.ChainAt(&a.run, seq)
	if mustBeKnown && !known {
		t.Fatalf("ChainAt(%d): got unknown, want %s", seq, a.chains[seq])
	}
	if known && chain != a.chains[seq] {
		t.Fatalf("ChainAt(%d): got %s, want %s", seq, chain, a.chains[seq])
	}
	isBefore := len(a.kept) > 0 && seq == a.keptWithoutGap()[0]-1
	if _, wasSeen := a.chains[seq]; isBefore && wasSeen && !known {
		t.Fatalf("ChainAt(%d): got unknown, want the chain before the first event", seq)
	}
}

func listSeqs(events []*Event) []int64 {
	seqs := make([]int64, 0, len(events))
	for _, e := range events {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// AppendSince returns the oldest events when there are more than the limit.
func TestAppendSinceKeepsLimit(t *testing.T) {
	m := Memory{MaxEvents: 100, MaxBytes: 1 << 20}
	var run Run
	for seq := int64(1); seq <= 10; seq++ {
		m.Add(&run, &Event{Seq: seq, Body: []byte("0123456789")})
	}
	for limit, want := range map[int][]int64{
		1:  {4},
		3:  {4, 5, 6},
		7:  {4, 5, 6, 7, 8, 9, 10},
		50: {4, 5, 6, 7, 8, 9, 10},
	} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			got := listSeqs(m.AppendSince(nil, &run, 4, limit, 1<<20))
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	t.Run("25 bytes", func(t *testing.T) {
		got := listSeqs(m.AppendSince(nil, &run, 4, 50, 25))
		want := []int64{4, 5}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
