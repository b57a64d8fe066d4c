package feed

import (
	"fmt"
	"testing"
)

// The list of rewound accounts is bounded, and keeps the lowest common seq of an account.
func TestRewindListIsBounded(t *testing.T) {
	var l rewindList
	l.remember("user:a", 5)
	l.remember("user:a", 7)
	if !l.isVoid("user:a", 6) {
		t.Error("seq 6: got not void, want void")
	}
	if l.isVoid("user:a", 5) {
		t.Error("seq 5: got void, want not void")
	}
	for i := range maxRewound {
		l.remember(fmt.Sprint("user:", i), 1)
	}
	if l.isVoid("user:a", 6) {
		t.Error("oldest account: got remembered, want forgotten")
	}
	if len(l.common) != maxRewound {
		t.Errorf("accounts: got %d, want %d", len(l.common), maxRewound)
	}
}
