package auth_test

import (
	"crypto/ed25519"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
)

// A remembered token is refused as soon as it has expired.
func TestCachedTokenExpires(t *testing.T) {
	now := time.Now()
	v := newVerifier(t, auth.Config{HS256Secret: secret, Now: func() time.Time { return now }})
	raw := sign(t, jwt.SigningMethodHS256, secret, "", nil)
	first, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if first != again {
		t.Error("the token was verified twice")
	}
	now = now.Add(time.Hour + 31*time.Second)
	for range 2 {
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("expired: %v", err)
		}
	}
}

// A token whose key is not published any more is refused with the next fetch, although it was remembered.
func TestCachedTokenFollowsRotation(t *testing.T) {
	k := makeKeys()
	srv := &jwksServer{keys: []map[string]string{ecJWK(k.ec, "ec-1")}}
	server := httptest.NewServer(srv)
	defer server.Close()
	now := time.Now()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: func() time.Time { return now }})
	raw := sign(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	for range 2 {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	srv.set(func() {
		srv.keys = []map[string]string{{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": b64(k.ed.Public().(ed25519.PublicKey))}}
	})
	now = now.Add(15 * time.Minute) // the keys are to be fetched again
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("rotated out: %v", err)
	}
}

// More tokens than the cache holds, from many goroutines: each answer is its own token's.
func TestCacheIsBounded(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret, CachedTokens: 8})
	tokens := map[string]string{}
	for i := range 64 {
		account := "user:u" + string(rune('A'+i%26)) + string(rune('a'+i/26))
		tokens[account] = sign(t, jwt.SigningMethodHS256, secret, "", func(c jwt.MapClaims) { c["sub"] = account })
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
					return errors.New("another token's claims")
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	raw, err := auth.Sign(secret, auth.Request{Subject: "user:u1", Scopes: []string{auth.ScopeRead}, TTL: time.Hour})
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
				if _, err := v.Verify(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
