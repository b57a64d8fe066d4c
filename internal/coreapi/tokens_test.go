package coreapi

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// counting is a Verifier whose tokens are good until an instant.
type counting struct {
	calls int
	until time.Time
}

func (c *counting) Verify(context.Context, string) (*auth.Claims, error) {
	c.calls++
	if time.Now().After(c.until) {
		return nil, errors.New("expired")
	}
	return &auth.Claims{ExpiresAt: c.until}, nil
}

func TestTokensAreRememberedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &counting{until: time.Now().Add(90 * time.Second)}
		m := remember(v)
		check := func(raw string, good bool, calls int) {
			t.Helper()
			if _, err := m.Verify(t.Context(), raw); (err == nil) != good || v.calls != calls {
				t.Errorf("token %s: err %v after %d calls, want good %v after %d", raw, err, v.calls, good, calls)
			}
		}
		check("a", true, 1)
		check("a", true, 1)
		check("b", true, 2)
		<-time.After(rememberFor + time.Second) // fake time
		check("a", true, 3)
		<-time.After(30 * time.Second) // past its end, within the minute
		check("a", false, 4)
		check("a", false, 5) // a refusal is not remembered
	})
}

func TestRememberedTokensAreBounded(t *testing.T) {
	m := remember(&counting{until: time.Now().Add(time.Hour)})
	for i := range 3 * rememberAtMost {
		if _, err := m.Verify(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.known) > rememberAtMost {
		t.Errorf("%d tokens are kept", len(m.known))
	}
}
