package protocol

import (
	"strings"
	"testing"
)

func FuzzPosition(f *testing.F) {
	f.Add("user:u1=4,model:m1=7", "user:u1", "user:u2")
	f.Add("0123abcd.4.zz", "a", "b")
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
	for account, seq := range after {
		if seq < 0 {
			t.Errorf("ParsePosition(%q): got seq %d, want at least 0", text, seq)
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
	p.Set(a, seqA)
	p.Set(b, seqB)
	id := string(p.AppendTo(nil))

	after, ok := ParsePosition(id, []string{b, a})
	if !ok {
		t.Errorf("ParsePosition(%q): got no position", id)
	}
	if after[a] != seqA {
		t.Errorf("ParsePosition(%q): got seq %d of %q, want %d", id, after[a], a, seqA)
	}
	if after[b] != seqB {
		t.Errorf("ParsePosition(%q): got seq %d of %q, want %d", id, after[b], b, seqB)
	}
}
