package protocol

import (
	"strings"
	"testing"
)

func FuzzPosition(f *testing.F) {
	f.Add("user:u1=4,model:m1=7", "user:u1", "user:u2")
	f.Add("0123abcd.4.zz", "a", "b")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		if after, ok := ParsePosition(text, []string{a, b}); ok {
			for account, seq := range after {
				if seq < 0 || (account != a && account != b && !strings.Contains(text, "=")) {
					t.Errorf("%q gives %v", text, after)
				}
			}
		}
		if a == b || strings.ContainsAny(a+b, "=,\n") {
			return
		}
		p := NewPosition([]string{a, b})
		p.Set(a, int64(len(text)))
		p.Set(b, 1<<53-1)
		id := string(p.AppendTo(nil))
		if got, ok := ParsePosition(id, []string{b, a}); !ok || got[a] != int64(len(text)) || got[b] != 1<<53-1 {
			t.Errorf("%q comes back as %v", id, got)
		}
	})
}
