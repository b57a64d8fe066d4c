package auth_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
)

func TestCachedTokenIsVerifiedOnce(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	raw := signToken(t, jwt.SigningMethodHS256, secret, "", nil)
	first, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("second call: got other claims, want the cached ones")
	}
}

// A cached token is refused as soon as it has expired.
func TestCachedTokenExpires(t *testing.T) {
	clock := newClock()
	v := newVerifier(t, auth.Config{HS256Secret: secret, Now: clock.now})
	raw := signToken(t, jwt.SigningMethodHS256, secret, "", nil)
	expectVerify(t, v, "valid", raw, nil)
	clock.advance(time.Hour + 31*time.Second)
	for range 2 {
		expectVerify(t, v, "expired", raw, auth.ErrInvalid)
	}
}

// A cached token is refused with the next fetch if its key is not published any more.
func TestCachedTokenFollowsRotation(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t, ecJWK(k.ec, "ec-1"))
	clock := newClock()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: clock.now})
	raw := signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	for range 2 {
		expectVerify(t, v, "published key", raw, nil)
	}
	server.setKeys(edJWK(k.ed, "ed-1"))
	clock.advance(15 * time.Minute) // the keys must be fetched again
	expectVerify(t, v, "key that is not published any more", raw, auth.ErrInvalid)
}

// With more tokens than the cache has room for, from many goroutines, every call returns the claims
// of its own token.
func TestCacheIsBounded(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret, CachedTokens: 8})
	tokens := map[string]string{}
	for i := range 64 {
		account := fmt.Sprint("user:u", i)
		tokens[account] = signToken(t, jwt.SigningMethodHS256, secret, "", func(c jwt.MapClaims) { c["sub"] = account })
	}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for account, raw := range tokens {
				claims, err := v.Verify(t.Context(), raw)
				if err != nil {
					return err
				}
				if claims.Subject != account {
					return errors.New("got another token's claims")
				}
			}
			return nil
		})
	}
	err := g.Wait()
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	raw, err := auth.Sign(secret, auth.Request{
		Subject: "user:u1",
		Scopes:  []string{auth.ScopeRead},
		TTL:     time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, size := range map[string]int{"new": -1, "cached": 1} {
		b.Run(name, func(b *testing.B) {
			v, err := auth.NewVerifier(auth.Config{HS256Secret: secret, CachedTokens: size})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, err := v.Verify(b.Context(), raw)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
