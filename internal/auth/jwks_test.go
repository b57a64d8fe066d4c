package auth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
)

// clock is a clock that tests advance.
type clock struct{ time time.Time }

func newClock() *clock { return &clock{time: time.Now()} }

func (c *clock) now() time.Time { return c.time }

func (c *clock) advance(d time.Duration) { c.time = c.time.Add(d) }

// expectVerify checks whether a token is accepted (nil) or refused with the error.
func expectVerify(t *testing.T, v *auth.Verifier, name, raw string, want error) {
	t.Helper()
	_, err := v.Verify(t.Context(), raw)
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", name, err, want)
	}
}

func TestPublishedKeysVerify(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t,
		ecJWK(k.ec, "ec-1").with("use", "sig"),
		jwk{"kty": "oct", "kid": "hmac", "k": encodeBase64(secret)}, // a public secret
		jwk{"kty": "OKP", "crv": "Ed448", "kid": "new", "x": encodeBase64(make([]byte, 57))},
		rsaJWK(k.rsa, "rsa-1"),
	)
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client()})
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"ES256":             {signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil), nil},
		"RS256":             {signToken(t, jwt.SigningMethodRS256, k.rsa, "rsa-1", nil), nil},
		"no kid":            {signToken(t, jwt.SigningMethodES256, k.ec, "", nil), nil},
		"published secret":  {signToken(t, jwt.SigningMethodHS256, secret, "hmac", nil), auth.ErrInvalid},
		"kid of other type": {signToken(t, jwt.SigningMethodES256, k.ec, "rsa-1", nil), auth.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) { expectVerify(t, v, name, tc.raw, tc.want) })
	}
}

func TestUnknownKidsCauseOneFetch(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t, ecJWK(k.ec, "ec-1"))
	clock := newClock()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: clock.now})
	expectVerify(t, v, "known key", signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil), nil)
	before := server.requestCount()
	for range 100 {
		expectVerify(t, v, "unknown kid", signToken(t, jwt.SigningMethodEdDSA, k.ed, "ed-1", nil), auth.ErrInvalid)
	}
	if got := server.requestCount(); got != before {
		t.Errorf("fetches within the retry interval: got %d, want 0", got-before)
	}
}

func TestJWKSRotation(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t, ecJWK(k.ec, "ec-1"), rsaJWK(k.rsa, "rsa-1"))
	clock := newClock()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: clock.now})
	ec := signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	rs := signToken(t, jwt.SigningMethodRS256, k.rsa, "rsa-1", nil)
	ed := signToken(t, jwt.SigningMethodEdDSA, k.ed, "ed-1", nil)
	expectVerify(t, v, "known key", ec, nil)

	server.setKeys(ecJWK(k.ec, "ec-1"), rsaJWK(k.rsa, "rsa-1"), edJWK(k.ed, "ed-1"))
	clock.advance(11 * time.Second)
	expectVerify(t, v, "new key after the retry interval", ed, nil)

	server.setUnavailable(true)
	clock.advance(20 * time.Minute)
	expectVerify(t, v, "old key during an outage", ec, nil)
	clock.advance(20 * time.Minute)
	expectVerify(t, v, "old key later in the outage", rs, nil)

	server.setUnavailable(false)
	server.setKeys(rsaJWK(k.rsa, "rsa-1"), edJWK(k.ed, "ed-1"))
	clock.advance(time.Minute)
	expectVerify(t, v, "key that is still published", rs, nil)
	expectVerify(t, v, "key that is not published any more", ec, auth.ErrInvalid)
}

// A token that only a key from the URL can verify is refused with ErrUnavailable until the URL
// answers, since the token may be valid.
func TestJWKSNeverReached(t *testing.T) {
	server := newJWKSServer(t)
	server.setUnavailable(true)
	clock := newClock()
	v := newVerifier(t, auth.Config{
		HS256Secret: secret,
		JWKSURL:     server.URL,
		HTTPClient:  server.Client(),
		Now:         clock.now,
	})
	raw := signToken(t, jwt.SigningMethodEdDSA, testKeys().ed, "ed-1", nil)
	for range 10 {
		_, err := v.Verify(t.Context(), raw)
		if !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("error: got %v, want ErrUnavailable", err)
		}
		if errors.Is(err, auth.ErrInvalid) {
			t.Fatalf("error: got %v, which is ErrInvalid too", err)
		}
	}
	if got := server.requestCount(); got != 1 {
		t.Errorf("fetches: got %d, want 1", got)
	}
	expectVerify(t, v, "token signed with the secret", signToken(t, jwt.SigningMethodHS256, secret, "", nil), nil)
}

// expectFailures checks the state of the JWKS URL.
func expectFailures(t *testing.T, v *auth.Verifier, failures int, age time.Duration) {
	t.Helper()
	p := v.Published()
	if p.Failures != failures {
		t.Errorf("failures: got %d, want %d", p.Failures, failures)
	}
	if p.Age != age {
		t.Errorf("age: got %s, want %s", p.Age, age)
	}
	hasKeys := age > 0
	if isMissing := p.Missing != nil; isMissing == hasKeys {
		t.Errorf("missing: got %v with keys of age %s", p.Missing, p.Age)
	}
}

func expectLogLines(t *testing.T, log string, warnings, infos int) {
	t.Helper()
	if got := strings.Count(log, "level=WARN"); got != warnings {
		t.Errorf("warnings: got %d, want %d:\n%s", got, warnings, log)
	}
	if got := strings.Count(log, "level=INFO"); got != infos {
		t.Errorf("infos: got %d, want %d:\n%s", got, infos, log)
	}
}

// Published and the log show outages of the JWKS URL: one from the start, and one after keys were
// fetched.
func TestJWKSOutageIsReported(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t, ecJWK(k.ec, "ec-1"))
	server.setUnavailable(true)
	clock := newClock()
	var log bytes.Buffer
	v := newVerifier(t, auth.Config{
		JWKSURL:    strings.Replace(server.URL, "http://", "http://keys:hunter2@", 1) + "/?key=hunter2",
		HTTPClient: server.Client(),
		Now:        clock.now,
		Logger:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	raw := signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	p := v.Published()
	if !p.Configured || !p.Only {
		t.Errorf("published: got %+v, want the only source of keys", p)
	}
	expectFailures(t, v, 0, 0)

	for range 5 { // five fetches in 44 s
		expectVerify(t, v, "never reached", raw, auth.ErrUnavailable)
		clock.advance(11 * time.Second)
	}
	expectFailures(t, v, 5, 0)
	if missing := v.Published().Missing; missing == nil || !strings.Contains(missing.Error(), "status 502") {
		t.Errorf("missing: got %v, want status 502", missing)
	}
	expectLogLines(t, log.String(), 1, 0)
	clock.advance(time.Minute)
	expectVerify(t, v, "still not reached", raw, auth.ErrUnavailable)
	expectLogLines(t, log.String(), 2, 0)

	server.setUnavailable(false)
	clock.advance(11 * time.Second)
	expectVerify(t, v, "reached", raw, nil)
	clock.advance(time.Minute)
	expectFailures(t, v, 6, time.Minute)
	expectLogLines(t, log.String(), 2, 1)

	// Fetched keys stay valid, and an unknown key is refused with ErrInvalid.
	server.setUnavailable(true)
	clock.advance(20 * time.Minute)
	expectVerify(t, v, "second outage", raw, nil)
	expectFailures(t, v, 7, 21*time.Minute)
	expectLogLines(t, log.String(), 3, 1)
	unknown := signToken(t, jwt.SigningMethodES256, k.ec, "ec-2", nil)
	expectVerify(t, v, "unknown key in the second outage", unknown, auth.ErrInvalid)

	// An answer without keys is a failure.
	server.setUnavailable(false)
	server.setKeys()
	clock.advance(time.Minute)
	expectVerify(t, v, "empty key set", raw, nil)
	if got := v.Published().Failures; got != 8 {
		t.Errorf("failures after an empty key set: got %d, want 8", got)
	}

	server.Close()
	clock.advance(2 * time.Minute)
	expectVerify(t, v, "connection refused", raw, nil)
	if !strings.Contains(log.String(), "connection refused") {
		t.Errorf("log: got no connection refused:\n%s", log.String())
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("log: got the password:\n%s", log.String())
	}
}

// A published key verifies only the tokens that its members use, alg and key_ops allow.
func TestPurposeOfPublishedKeys(t *testing.T) {
	k := testKeys()
	rs := signToken(t, jwt.SigningMethodRS256, k.rsa, "k", nil)
	es := signToken(t, jwt.SigningMethodES256, k.ec, "k", nil)
	ed := signToken(t, jwt.SigningMethodEdDSA, k.ed, "k", nil)
	for _, tc := range []struct {
		key   jwk
		name  string
		value any
		raw   string
		want  error
	}{
		{rsaJWK(k.rsa, "k"), "alg", "RS256", rs, nil},
		{rsaJWK(k.rsa, "k"), "alg", "RSA-OAEP-256", rs, auth.ErrInvalid},
		{rsaJWK(k.rsa, "k"), "alg", "RS512", rs, auth.ErrInvalid},
		{rsaJWK(k.rsa, "k"), "Alg", "RS512", rs, nil}, // an unknown member
		{rsaJWK(k.rsa, "k"), "use", "sig", rs, nil},
		{rsaJWK(k.rsa, "k"), "use", "enc", rs, auth.ErrInvalid},
		{rsaJWK(k.rsa, "k"), "key_ops", []string{"sign", "verify"}, rs, nil},
		{rsaJWK(k.rsa, "k"), "key_ops", []string{"encrypt"}, rs, auth.ErrInvalid},
		{rsaJWK(k.rsa, "k"), "key_ops", []string{}, rs, auth.ErrInvalid},
		{rsaJWK(k.rsa, "k"), "key_ops", "verify", rs, auth.ErrInvalid},
		{ecJWK(k.ec, "k"), "alg", "ES256", es, nil},
		{ecJWK(k.ec, "k"), "alg", "ES384", es, auth.ErrInvalid},
		{edJWK(k.ed, "k"), "alg", "EdDSA", ed, nil},
		{edJWK(k.ed, "k"), "alg", "ES256", ed, auth.ErrInvalid},
	} {
		t.Run(fmt.Sprintf("%s with %s %v", tc.key["kty"], tc.name, tc.value), func(t *testing.T) {
			other := ecJWK(k.ec, "another") // an empty set would be a failed fetch
			server := newJWKSServer(t, other, tc.key.with(tc.name, tc.value))
			v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client()})
			expectVerify(t, v, "token", tc.raw, tc.want)
		})
	}
}

func TestPublishedWithOtherKeys(t *testing.T) {
	k := testKeys()
	for name, cfg := range map[string]auth.Config{
		"secret":     {HS256Secret: secret},
		"public key": {PublicKeys: [][]byte{publicPEM(t, k.ec)}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.JWKSURL = "http://127.0.0.1:1/"
			p := newVerifier(t, cfg).Published()
			if !p.Configured {
				t.Error("configured: got false, want true")
			}
			if p.Only {
				t.Error("only: got true, want false")
			}
			if p.Missing == nil {
				t.Error("missing: got nil, want an error")
			}
		})
	}
	t.Run("no URL", func(t *testing.T) {
		got := newVerifier(t, auth.Config{HS256Secret: secret}).Published()
		if got != (auth.Published{}) {
			t.Errorf("got %+v, want the zero value", got)
		}
	})
}

// lineWriter sends each log line to a channel.
type lineWriter chan string

func (l lineWriter) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lineWriter) expectLine(t *testing.T, want string) {
	t.Helper()
	line := <-l
	if !strings.Contains(line, want) {
		t.Errorf("log: got %q, want %q", line, want)
	}
}

// Run fetches the keys without a token, and retries until it has them.
func TestRunFetchesKeys(t *testing.T) {
	server := newJWKSServer(t, ecJWK(testKeys().ec, "ec-1"))
	server.setUnavailable(true)
	log := make(lineWriter, 2)
	v := newVerifier(t, auth.Config{
		JWKSURL:    server.URL,
		HTTPClient: server.Client(),
		JWKSRetry:  time.Millisecond,
		Logger:     slog.New(slog.NewTextHandler(log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return v.Run(ctx) })
	log.expectLine(t, "JWKS fetch failed")
	server.setUnavailable(false)
	log.expectLine(t, "JWKS fetch recovered")
	if missing := v.Published().Missing; missing != nil {
		t.Errorf("missing: got %v, want nil", missing)
	}
	cancel()
	err := g.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// A token that no known key verifies causes a fetch if its key may be new: it has a kid that no key
// has, or no kid. Keys without kid, which fit every token, do not prevent that. There is at most
// one fetch in the retry interval.
func TestTokensOfNewKeysCauseOneFetch(t *testing.T) {
	k := testKeys()
	newKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	withoutKid := func(key jwk) jwk {
		delete(key, "kid")
		return key
	}
	method := jwt.SigningMethodES256
	for name, tc := range map[string]struct {
		before, after jwk
		kid           string // of the token that the new key signs
	}{
		"kid, keys without kid":           {withoutKid(ecJWK(k.ec, "")), ecJWK(newKey, "new"), "new"},
		"kid, both keys without kid":      {withoutKid(ecJWK(k.ec, "")), withoutKid(ecJWK(newKey, "")), "new"},
		"kid, keys with kid":              {ecJWK(k.ec, "old"), ecJWK(newKey, "new"), "new"},
		"no kid, keys without kid":        {withoutKid(ecJWK(k.ec, "")), withoutKid(ecJWK(newKey, "")), ""},
		"no kid, keys with kid":           {ecJWK(k.ec, "old"), ecJWK(newKey, "new"), ""},
		"no kid, keys for other algs":     {rsaJWK(k.rsa, "old"), ecJWK(newKey, "new"), ""},
		"kid, keys for other algs":        {rsaJWK(k.rsa, "old"), ecJWK(newKey, "new"), "new"},
		"kid of a key for another alg":    {rsaJWK(k.rsa, "new"), ecJWK(newKey, "new"), "new"},
		"no kid, no kids and other algs":  {withoutKid(rsaJWK(k.rsa, "")), withoutKid(ecJWK(newKey, "")), ""},
		"kid, an empty kid is not a kid":  {ecJWK(k.ec, ""), ecJWK(newKey, "new"), "new"},
		"no kid, an empty kid is no kid":  {ecJWK(k.ec, ""), ecJWK(newKey, ""), ""},
		"kid, the new key has no kid yet": {ecJWK(k.ec, "old"), withoutKid(ecJWK(newKey, "")), "new"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newJWKSServer(t, tc.before)
			clock := newClock()
			v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: clock.now})
			signed := signToken(t, method, newKey, tc.kid, nil)
			forged := signed[:len(signed)-8] + "AAAAAAAA"
			for range 10 {
				expectVerify(t, v, "new key before its publication", signed, auth.ErrInvalid)
			}
			expectFetches(t, server, 1)

			server.setKeys(tc.after)
			expectVerify(t, v, "new key within the retry interval", signed, auth.ErrInvalid)
			clock.advance(11 * time.Second)
			expectVerify(t, v, "new key after the retry interval", signed, nil)
			expectFetches(t, server, 2)

			for range 10 {
				expectVerify(t, v, "forged token", forged, auth.ErrInvalid)
			}
			expectFetches(t, server, 2)
		})
	}
}

func expectFetches(t *testing.T, server *jwksServer, want int) {
	t.Helper()
	got := server.requestCount()
	if got != want {
		t.Errorf("fetches: got %d, want %d", got, want)
	}
}

// A forged token whose kid a key has causes no fetch, and neither does a token that a key verifies.
func TestTokensOfKnownKeysCauseNoFetch(t *testing.T) {
	k := testKeys()
	server := newJWKSServer(t, ecJWK(k.ec, "ec-1"), edJWK(k.ed, ""))
	clock := newClock()
	v := newVerifier(t, auth.Config{
		JWKSURL:      server.URL,
		HTTPClient:   server.Client(),
		Now:          clock.now,
		CachedTokens: -1,
	})
	signed := signToken(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	expectVerify(t, v, "first token", signed, nil)
	for range 3 {
		clock.advance(11 * time.Second)
		expectVerify(t, v, "known kid", signed, nil)
		expectVerify(t, v, "forged", signed[:len(signed)-8]+"AAAAAAAA", auth.ErrInvalid)
		expectVerify(t, v, "no kid", signToken(t, jwt.SigningMethodES256, k.ec, "", nil), nil)
		expectVerify(t, v, "kid of a key without kid", signToken(t, jwt.SigningMethodEdDSA, k.ed, "x", nil), nil)
	}
	expectFetches(t, server, 1)
}
