package recent

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelAccount is an account as a naive implementation keeps it: the seqs of its events in memory,
// in order.
type modelAccount struct {
	chain  Chain
	newest int64
	kept   []int64
}

// unbroken returns the last events of kept that follow each other without a gap.
func (a *modelAccount) unbroken() []int64 {
	if len(a.kept) == 0 || a.kept[len(a.kept)-1] != a.newest {
		return nil
	}
	first := len(a.kept) - 1
	for first > 0 && a.kept[first-1] == a.kept[first]-1 {
		first--
	}
	return a.kept[first:]
}

// TestMemoryAgainstModel adds random events of a few accounts, with gaps, and compares every answer
// of the memory with a naive model's.
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
					t.Fatalf("removed seq %d, want the oldest, seq %d", oldest.Seq, order[0].Seq)
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
		t.Fatalf("Len is %d, want %d", m.Len(), len(order))
	}
	if m.Bytes() != size {
		t.Fatalf("Bytes is %d, want %d", m.Bytes(), size)
	}
	if m.Len() > m.MaxEvents {
		t.Fatalf("%d events are kept, at most %d are allowed", m.Len(), m.MaxEvents)
	}
}

func checkChain(t *rapid.T, m *Memory, a *modelAccount) {
	kept := a.unbroken()
	if a.chain.Newest() != a.newest {
		t.Fatalf("Newest is %d, want %d", a.chain.Newest(), a.newest)
	}
	if a.chain.IsEmpty() != (len(kept) == 0) {
		t.Fatalf("IsEmpty is %t with events %v", a.chain.IsEmpty(), kept)
	}
	for seq := int64(0); seq <= a.newest+2; seq++ {
		holds := slices.Contains(kept, seq)
		if a.chain.Holds(seq) != holds {
			t.Fatalf("Holds(%d) is %t with events %v", seq, !holds, kept)
		}
		holdsAfter := slices.Contains(kept, seq+1) || (len(kept) > 0 && seq == a.newest)
		if a.chain.HoldsAfter(seq) != holdsAfter {
			t.Fatalf("HoldsAfter(%d) is %t with events %v", seq, !holdsAfter, kept)
		}
	}
	for i, next := range kept {
		limit := len(kept)
		found := m.AppendSince(nil, &a.chain, next, limit, 1<<30)
		if got := seqsOf(found); !slices.Equal(got, kept[i:]) {
			t.Fatalf("AppendSince(%d) returned %v, want %v", next, got, kept[i:])
		}
		one := m.AppendSince(nil, &a.chain, next, limit, 0)
		if got := seqsOf(one); !slices.Equal(got, kept[i:i+1]) {
			t.Fatalf("AppendSince(%d) with no bytes left returned %v, want %v", next, got, kept[i:i+1])
		}
	}
}

func seqsOf(events []*Event) []int64 {
	seqs := make([]int64, 0, len(events))
	for _, e := range events {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// TestAppendSinceKeepsLimit wants the oldest events when there are more than the limit.
func TestAppendSinceKeepsLimit(t *testing.T) {
	m := Memory{MaxEvents: 100, MaxBytes: 1 << 20}
	var chain Chain
	for seq := int64(1); seq <= 10; seq++ {
		m.Add(&chain, &Event{Seq: seq, Body: []byte("0123456789")})
	}
	for limit, want := range map[int][]int64{1: {4}, 3: {4, 5, 6}, 7: {4, 5, 6, 7, 8, 9, 10}, 50: {4, 5, 6, 7, 8, 9, 10}} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			got := seqsOf(m.AppendSince(nil, &chain, 4, limit, 1<<20))
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	t.Run("25 bytes", func(t *testing.T) {
		got := seqsOf(m.AppendSince(nil, &chain, 4, 50, 25))
		if want := []int64{4, 5}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestFrameIsShared wants subscriptions of one name to share a frame, and names beyond the bound to
// get frames of their own with the right content.
func TestFrameIsShared(t *testing.T) {
	e := &Event{Account: "user:u1", Seq: 7, Body: []byte(`{"a":1}`)}
	first := e.Frame("wallet", []byte(`"wallet"`))
	if again := e.Frame("wallet", []byte(`"wallet"`)); &again[0] != &first[0] {
		t.Error("two subscriptions named wallet got two frames")
	}
	for i := range 2 * maxSharedFrames {
		name := fmt.Sprint("sub", i)
		quoted := fmt.Appendf(nil, "%q", name)
		want := fmt.Sprintf(`{"op":"event","sub":%q,"account":"user:u1","seq":7,"event":{"a":1}}`, name)
		if got := e.Frame(name, quoted); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestDetachBodyCopies wants a detached event to be independent of the buffer that it was read into.
func TestDetachBodyCopies(t *testing.T) {
	for _, withFrame := range []bool{false, true} {
		t.Run(fmt.Sprint("with a frame: ", withFrame), func(t *testing.T) {
			buffer := []byte(`{"a":1}`)
			e := &Event{Account: "user:u1", Seq: 7, Body: buffer}
			if withFrame {
				e.Frame("wallet", []byte(`"wallet"`))
			}
			e.DetachBody()
			copy(buffer, "overwritten")
			if string(e.Body) != `{"a":1}` {
				t.Errorf("the body became %s", e.Body)
			}
		})
	}
}
