package auth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
)

// What operators see of a JWKS URL that is away from the start, comes, goes, and comes back.
func TestJWKSOutageShows(t *testing.T) {
	k := makeKeys()
	srv := &jwksServer{away: true, keys: []map[string]string{ecJWK(k.ec, "ec-1")}}
	server := httptest.NewServer(srv)
	defer server.Close()
	var log bytes.Buffer
	now := time.Now()
	address := strings.Replace(server.URL, "http://", "http://keys:hunter2@", 1) + "/?key=hunter2"
	v := newVerifier(t, auth.Config{
		JWKSURL: address, HTTPClient: server.Client(), Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	raw := sign(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	verify := func(want error) {
		t.Helper()
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	logged := func(warnings, infos int) {
		t.Helper()
		if w, i := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); w != warnings || i != infos {
			t.Errorf("%d warnings and %d infos, want %d and %d:\n%s", w, i, warnings, infos, log.String())
		}
	}
	if p := v.Published(); !p.Configured || !p.Only || p.Missing == nil || p.Failures != 0 {
		t.Errorf("before the first fetch: %+v", p)
	}
	for range 5 { // over 44 s
		verify(auth.ErrUnavailable)
		now = now.Add(11 * time.Second)
	}
	if p := v.Published(); p.Missing == nil || !strings.Contains(p.Missing.Error(), "status 502") || p.Failures != 5 || p.Age != 0 {
		t.Errorf("never reached: %+v", p)
	}
	logged(1, 0)
	now = now.Add(time.Minute)
	verify(auth.ErrUnavailable)
	logged(2, 0)

	srv.set(func() { srv.away = false })
	now = now.Add(11 * time.Second)
	verify(nil)
	now = now.Add(time.Minute)
	if p := v.Published(); p.Missing != nil || p.Failures != 6 || p.Age != time.Minute {
		t.Errorf("reached: %+v", p)
	}
	logged(2, 1)

	// What was fetched stays good, and a key that is not there is a refusal again.
	srv.set(func() { srv.away = true })
	now = now.Add(20 * time.Minute)
	verify(nil)
	if p := v.Published(); p.Missing != nil || p.Failures != 7 || p.Age != 21*time.Minute {
		t.Errorf("gone again: %+v", p)
	}
	logged(3, 1)
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodES256, k.ec, "ec-2", nil)); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("an unknown key: %v", err)
	}

	// An answer without a key is none.
	srv.set(func() { srv.away, srv.keys = false, nil })
	now = now.Add(time.Minute)
	verify(nil)
	if p := v.Published(); p.Failures != 8 {
		t.Errorf("an empty answer: %+v", p)
	}

	server.Close()
	now = now.Add(2 * time.Minute)
	verify(nil)
	if strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "connection refused") {
		t.Errorf("log:\n%s", log.String())
	}
}

// A published key verifies nothing but what it is for.
func TestJWKPurpose(t *testing.T) {
	k := makeKeys()
	rsaJWK := func() map[string]any {
		return map[string]any{"kty": "RSA", "kid": "k", "n": b64(k.rsa.N.Bytes()), "e": b64(big.NewInt(int64(k.rsa.E)).Bytes())}
	}
	ec := func() map[string]any {
		jwk := map[string]any{}
		for name, value := range ecJWK(k.ec, "k") {
			jwk[name] = value
		}
		return jwk
	}
	edJWK := func() map[string]any {
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(k.ed.Public().(ed25519.PublicKey))}
	}
	rs := sign(t, jwt.SigningMethodRS256, k.rsa, "k", nil)
	es := sign(t, jwt.SigningMethodES256, k.ec, "k", nil)
	ed := sign(t, jwt.SigningMethodEdDSA, k.ed, "k", nil)
	for _, c := range []struct {
		jwk   map[string]any
		name  string
		value any
		raw   string
		want  bool
	}{
		{rsaJWK(), "alg", "RS256", rs, true},
		{rsaJWK(), "alg", "RSA-OAEP-256", rs, false},
		{rsaJWK(), "alg", "RS512", rs, false},
		{rsaJWK(), "Alg", "RS512", rs, true}, // another name
		{rsaJWK(), "use", "sig", rs, true},
		{rsaJWK(), "use", "enc", rs, false},
		{rsaJWK(), "key_ops", []string{"sign", "verify"}, rs, true},
		{rsaJWK(), "key_ops", []string{"encrypt"}, rs, false},
		{rsaJWK(), "key_ops", []string{}, rs, false},
		{rsaJWK(), "key_ops", "verify", rs, false},
		{ec(), "alg", "ES256", es, true},
		{ec(), "alg", "ES384", es, false},
		{edJWK(), "alg", "EdDSA", ed, true},
		{edJWK(), "alg", "ES256", ed, false},
	} {
		c.jwk[c.name] = c.value
		other, _ := json.Marshal(ecJWK(k.ec, "another")) // so that the set is not empty
		one, _ := json.Marshal(c.jwk)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"keys":[%s,%s]}`, other, one)
		}))
		v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client()})
		if _, err := v.Verify(t.Context(), c.raw); (err == nil) != c.want || (err != nil && !errors.Is(err, auth.ErrInvalid)) {
			t.Errorf("%s: %v", one, err)
		}
		server.Close()
	}
}

// With other keys, some tokens can be judged.
func TestJWKSIsNotTheOnlySource(t *testing.T) {
	k := makeKeys()
	for name, cfg := range map[string]auth.Config{"secret": {HS256Secret: secret}, "public key": {PublicKeys: [][]byte{publicPEM(t, k.ec)}}} {
		cfg.JWKSURL = "http://127.0.0.1:1/"
		if p := newVerifier(t, cfg).Published(); !p.Configured || p.Only || p.Missing == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p := newVerifier(t, auth.Config{HS256Secret: secret}).Published(); p != (auth.Published{}) {
		t.Errorf("without a URL: %+v", p)
	}
}

// lines is a log that can be waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// Run has the keys before anybody asks, and tries until it has them.
func TestRunFetches(t *testing.T) {
	srv := &jwksServer{away: true, keys: []map[string]string{ecJWK(makeKeys().ec, "ec-1")}}
	server := httptest.NewServer(srv)
	defer server.Close()
	log := make(lines, 2)
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), JWKSRetry: time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return v.Run(ctx) })
	if line := <-log; !strings.Contains(line, "JWKS fetch failed") {
		t.Error(line)
	}
	srv.set(func() { srv.away = false })
	if line := <-log; !strings.Contains(line, "JWKS fetch recovered") {
		t.Error(line)
	}
	if p := v.Published(); p.Missing != nil {
		t.Errorf("%+v", p)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
