package recent

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A modelAccount is an account of a simple model: its newest seq and the seqs of its events in
// memory, in order.
type modelAccount struct {
	chain  Chain
	newest int64
	kept   []int64
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

// TestMemoryAgainstModel adds random events of a few accounts, with gaps, and compares the results
// of all methods with a simple model.
func TestMemoryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Memory{
			MaxEvents: rapid.IntRange(1, 40).Draw(t, "MaxEvents"),
			MaxBytes:  rapid.IntRange(1, 20_000).Draw(t, "MaxBytes"),
		}
		accounts := make([]*modelAccount, 3)
		for i := range accounts {
			accounts[i] = &modelAccount{}
		}
		var order []*Event // oldest first
		owner := map[*Event]*modelAccount{}

		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			account := accounts[rapid.IntRange(0, len(accounts)-1).Draw(t, "account")]
			step := rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 7}).Draw(t, "seq step")
			event := &Event{
				Seq:  account.newest + step,
				Body: bytes.Repeat([]byte("x"), rapid.IntRange(1, 300).Draw(t, "body")),
			}
			m.Add(&account.chain, event)
			account.newest = event.Seq
			account.kept = append(account.kept, event.Seq)
			order = append(order, event)
			owner[event] = account

			for m.IsFull() {
				oldest, position := m.RemoveOldest()
				if oldest != order[0] {
					t.Fatalf("RemoveOldest: got seq %d, want %d", oldest.Seq, order[0].Seq)
				}
				order = order[1:]
				owner[oldest].chain.Forget(oldest, position)
				owner[oldest].kept = owner[oldest].kept[1:]
			}
			checkBounds(t, &m, order)
			for _, a := range accounts {
				checkChain(t, &m, a)
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

func checkChain(t *rapid.T, m *Memory, a *modelAccount) {
	kept := a.keptWithoutGap()
	if a.chain.Newest() != a.newest {
		t.Fatalf("Newest: got %d, want %d", a.chain.Newest(), a.newest)
	}
	if a.chain.IsEmpty() != (len(kept) == 0) {
		t.Fatalf("IsEmpty: got %t, want %t", a.chain.IsEmpty(), len(kept) == 0)
	}
	for seq := int64(0); seq <= a.newest+2; seq++ {
		holds := slices.Contains(kept, seq)
		if a.chain.Holds(seq) != holds {
			t.Fatalf("Holds(%d): got %t, want %t with events %v", seq, !holds, holds, kept)
		}
		holdsAfter := slices.Contains(kept, seq+1) || (len(kept) > 0 && seq == a.newest)
		if a.chain.HoldsAfter(seq) != holdsAfter {
			t.Fatalf("HoldsAfter(%d): got %t, want %t with events %v",
				seq, !holdsAfter, holdsAfter, kept)
		}
	}
	for i, next := range kept {
		limit := len(kept)
		got := listSeqs(m.AppendSince(nil, &a.chain, next, limit, 1<<30))
		if !slices.Equal(got, kept[i:]) {
			t.Fatalf("AppendSince(%d): got %v, want %v", next, got, kept[i:])
		}
		got = listSeqs(m.AppendSince(nil, &a.chain, next, limit, 0))
		if !slices.Equal(got, kept[i:i+1]) {
			t.Fatalf("AppendSince(%d) with 0 bytes: got %v, want %v", next, got, kept[i:i+1])
		}
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
	var chain Chain
	for seq := int64(1); seq <= 10; seq++ {
		m.Add(&chain, &Event{Seq: seq, Body: []byte("0123456789")})
	}
	for limit, want := range map[int][]int64{
		1:  {4},
		3:  {4, 5, 6},
		7:  {4, 5, 6, 7, 8, 9, 10},
		50: {4, 5, 6, 7, 8, 9, 10},
	} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			got := listSeqs(m.AppendSince(nil, &chain, 4, limit, 1<<20))
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	t.Run("25 bytes", func(t *testing.T) {
		got := listSeqs(m.AppendSince(nil, &chain, 4, 50, 25))
		want := []int64{4, 5}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
