package revocation

import (
	"fmt"
	"testing"
	"time"
)

func TestEndedRevocationsAreRemoved(t *testing.T) {
	l := NewList()
	now := time.Now()
	for i := range 5000 {
		l.AddRevocation(Revocation{TokenID: fmt.Sprint(i), Until: now.Add(-time.Second)})
	}
	if len(l.tokens) > minSweep {
		t.Errorf("revocations: got %d, want at most %d", len(l.tokens), minSweep)
	}
	if l.IsRevoked(Token{ID: "4999"}, now) {
		t.Error("token of an ended revocation: got revoked, want not revoked")
	}
}

// Two revocations of an account are combined into one that is as strict as each.
func TestRevocationsOfAccountAreCombined(t *testing.T) {
	now := time.Now()
	hour := now.Add(time.Hour)
	l := NewList()
	l.AddRevocation(Revocation{Account: "user:u1", At: now, Until: now.Add(time.Minute)})
	l.AddRevocation(Revocation{Account: "user:u1", At: now.Add(-time.Hour), Until: hour})
	v := l.accounts["user:u1"]
	if !v.At.Equal(now) {
		t.Errorf("At: got %v, want %v", v.At, now)
	}
	if !v.Until.Equal(hour) {
		t.Errorf("Until: got %v, want %v", v.Until, hour)
	}
	if got := len(l.ListActive()); got != 1 {
		t.Errorf("active revocations: got %d, want 1", got)
	}
}

func TestIsRevoked(t *testing.T) {
	now := time.Now()
	later := now.Add(time.Second)
	l := NewList()
	l.AddRevocation(Revocation{Account: "user:u1", At: now, Until: now.Add(time.Hour)})
	for name, tc := range map[string]struct {
		issuedAt time.Time
		usedAt   time.Time
		want     bool
	}{
		"without iat":     {time.Time{}, now, true},
		"issued later":    {later, later, false},
		"issuer is ahead": {later, now, true},
	} {
		t.Run(name, func(t *testing.T) {
			token := Token{
				Accounts: []string{"user:u1"},
				IssuedAt: tc.issuedAt,
			}
			if got := l.IsRevoked(token, tc.usedAt); got != tc.want {
				t.Errorf("revoked: got %v, want %v", got, tc.want)
			}
		})
	}
}
