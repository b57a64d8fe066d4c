package protocol

import (
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func FuzzPosition(f *testing.F) {
	f.Add("user:u1=4,model:m1=7", "user:u1", "user:u2")
	f.Add("user:u1=4:9f3ab2c1d4e5f607", "user:u1", "user:u2")
	f.Add("0123abcd.4.zz", "a", "b")
	f.Add("0123abcd.4:nzqyxwECAwQ.0", "a", "b")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		checkParsedPosition(t, text, a, b)
		if a == b || strings.ContainsAny(a+b, "=,\n") {
			return
		}
		checkRoundTrip(t, a, b, int64(len(text)))
	})
}

// checkParsedPosition checks that any text that is a position gives only valid seqs. Only a text
// with account names gives seqs of other accounts than a and b.
func checkParsedPosition(t *testing.T, text, a, b string) {
	t.Helper()
	after, ok := ParsePosition(text, []string{a, b})
	if !ok {
		return
	}
	namesAccounts := strings.Contains(text, "=")
	for account, point := range after {
		if point.Seq < 0 {
			t.Errorf("ParsePosition(%q): got seq %d, want at least 0", text, point.Seq)
		}
		if point.Chain != 0 && !point.HasChain {
			t.Errorf("ParsePosition(%q): got chain %s, want HasChain", text, point.Chain)
		}
		if account != a && account != b && !namesAccounts {
			t.Errorf("ParsePosition(%q): got account %q, want %q or %q", text, account, a, b)
		}
	}
}

// checkRoundTrip checks that a position of two accounts can be parsed again.
func checkRoundTrip(t *testing.T, a, b string, seqA int64) {
	t.Helper()
	const seqB = MaxAmount
	p := NewPosition([]string{a, b})
	chainA := bus.Chain(seqA) * 0x9e3779b97f4a7c15 // 0 at seq 0
	const chainB = bus.Chain(1<<64 - 1)
	p.Set(a, seqA, chainA)
	p.Set(b, seqB, chainB)
	id := string(p.AppendTo(nil))

	after, ok := ParsePosition(id, []string{b, a})
	if !ok {
		t.Errorf("ParsePosition(%q): got no position", id)
	}
	wantA := Point{Seq: seqA, Chain: chainA, HasChain: true}
	if after[a] != wantA {
		t.Errorf("ParsePosition(%q): got %+v of %q, want %+v", id, after[a], a, wantA)
	}
	wantB := Point{Seq: seqB, Chain: chainB, HasChain: true}
	if after[b] != wantB {
		t.Errorf("ParsePosition(%q): got %+v of %q, want %+v", id, after[b], b, wantB)
	}
}
