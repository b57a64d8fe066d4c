package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
)

var secret = []byte("a-secret-for-tests-of-32-bytes-or-more")

type keys struct {
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	ed    ed25519.PrivateKey
	ec384 *ecdsa.PrivateKey
}

var makeKeys = sync.OnceValue(func() keys {
	var k keys
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.ec384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func publicPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func sign(t *testing.T, m jwt.SigningMethod, key any, kid string, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "user:u1", "exp": time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(claims)
	}
	tok := jwt.NewWithClaims(m, claims)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	raw, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func newVerifier(t *testing.T, cfg auth.Config) *auth.Verifier {
	t.Helper()
	v, err := auth.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSignThenVerify(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret, Issuer: "core", Audience: "app"})
	raw, err := auth.Sign(secret, auth.Request{
		Subject: "service:queue", Accounts: []string{"user:u1", "model:m1"}, Scopes: []string{auth.ScopeSettle, auth.ScopeRead},
		Issuer: "core", Audience: "app", TTL: time.Hour, TokenID: "t1",
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "service:queue" || c.TokenID != "t1" || !slices.Equal(c.Accounts, []string{"user:u1", "model:m1"}) {
		t.Errorf("%+v", c)
	}
	if !c.Has(auth.ScopeSettle) || c.Has(auth.ScopeAdmin) || !c.MaySee("user:u1") || c.MaySee("user:u2") || !c.MayRead("user:u2") {
		t.Errorf("%+v", c)
	}
	if left := time.Until(c.ExpiresAt); left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires in %v", left)
	}
}

func TestAccountsClaim(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for name, tc := range map[string]struct {
		change func(jwt.MapClaims)
		want   []string // nil: refused
	}{
		"from sub":            {nil, []string{"user:u1"}},
		"sub is no account":   {func(c jwt.MapClaims) { c["sub"] = "service:x" }, []string{}},
		"explicit":            {func(c jwt.MapClaims) { c["accounts"] = []string{"model:m1"} }, []string{"model:m1"}},
		"explicitly none":     {func(c jwt.MapClaims) { c["accounts"] = []string{} }, []string{}},
		"something else":      {func(c jwt.MapClaims) { c["accounts"] = []string{"*"} }, nil},
		"a string":            {func(c jwt.MapClaims) { c["accounts"] = "user:u1" }, nil},
		"without sub":         {func(c jwt.MapClaims) { delete(c, "sub") }, nil},
		"scope of wrong type": {func(c jwt.MapClaims) { c["scope"] = 5 }, nil},
	} {
		c, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, secret, "", tc.change))
		switch {
		case tc.want == nil && err == nil:
			t.Errorf("%s: accepted %+v", name, c)
		case tc.want != nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.want != nil && !slices.Equal(c.Accounts, tc.want):
			t.Errorf("%s: %q", name, c.Accounts)
		}
	}
}

// Every way to come with a token that must not pass.
func TestRefused(t *testing.T) {
	k := makeKeys()
	rsaPEM := publicPEM(t, k.rsa)
	v := newVerifier(t, auth.Config{HS256Secret: secret, PublicKeys: [][]byte{publicPEM(t, k.ed)}, Issuer: "core", Audience: "app"})
	onlyRSA := newVerifier(t, auth.Config{PublicKeys: [][]byte{rsaPEM}})
	good := func(c jwt.MapClaims) { c["iss"], c["aud"] = "core", []string{"other", "app"} }
	with := func(change func(jwt.MapClaims)) string {
		return sign(t, jwt.SigningMethodHS256, secret, "", func(c jwt.MapClaims) { good(c); change(c) })
	}
	if _, err := v.Verify(t.Context(), with(func(jwt.MapClaims) {})); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "", good)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		v   *auth.Verifier
		raw string
	}{
		"missing":           {v, ""},
		"rubbish":           {v, "a.b.c"},
		"two parts":         {v, "a.b"},
		"too long":          {v, with(func(c jwt.MapClaims) { c["pad"] = strings.Repeat("x", auth.MaxBytes) })},
		"expired":           {v, with(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-31 * time.Second).Unix() })},
		"no exp":            {v, with(func(c jwt.MapClaims) { delete(c, "exp") })},
		"not yet":           {v, with(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Minute).Unix() })},
		"issued later":      {v, with(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(32 * time.Second).Unix() })},
		"other issuer":      {v, with(func(c jwt.MapClaims) { c["iss"] = "evil" })},
		"no issuer":         {v, with(func(c jwt.MapClaims) { delete(c, "iss") })},
		"other audience":    {v, with(func(c jwt.MapClaims) { c["aud"] = "web" })},
		"other secret":      {v, sign(t, jwt.SigningMethodHS256, []byte("another-secret-of-32-bytes-or-more-1"), "", good)},
		"alg none":          {v, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good)},
		"HS512":             {v, sign(t, jwt.SigningMethodHS512, secret, "", good)},
		"RS256, no RSA key": {v, sign(t, jwt.SigningMethodRS256, k.rsa, "", good)},
		"HS256, public key": {onlyRSA, sign(t, jwt.SigningMethodHS256, rsaPEM, "", nil)},
		"PS256":             {onlyRSA, sign(t, jwt.SigningMethodPS256, k.rsa, "", nil)},
		"HS256, no secret":  {onlyRSA, sign(t, jwt.SigningMethodHS256, secret, "", nil)},
		"HS256, empty key":  {onlyRSA, sign(t, jwt.SigningMethodHS256, []byte{}, "", nil)},
		"another Ed25519":   {v, sign(t, jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(make([]byte, 32)), "", good)},
	} {
		_, err := tc.v.Verify(t.Context(), tc.raw)
		if !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r := auth.Reason(err); r == "" || (len(tc.raw) > 10 && strings.Contains(r, tc.raw[:10])) {
			t.Errorf("%s: reason %q", name, r)
		}
	}
	// The clocks may differ by 30 s.
	if _, err := v.Verify(t.Context(), with(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-20 * time.Second).Unix() })); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	if _, err := v.Verify(t.Context(), with(func(c jwt.MapClaims) { c["iat"] = time.Now().Add(20 * time.Second).Unix() })); err != nil {
		t.Errorf("issued within the leeway: %v", err)
	}
}

func TestPublicKeys(t *testing.T) {
	k := makeKeys()
	v := newVerifier(t, auth.Config{PublicKeys: [][]byte{publicPEM(t, k.rsa), publicPEM(t, k.ec), publicPEM(t, k.ed)}})
	for name, raw := range map[string]string{
		"RS256": sign(t, jwt.SigningMethodRS256, k.rsa, "", nil),
		"ES256": sign(t, jwt.SigningMethodES256, k.ec, "any-kid", nil),
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, k.ed, "", nil),
	} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	private, err := x509.MarshalPKCS8PrivateKey(k.ed)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // refused below
	if err == nil {
		if _, err := auth.NewVerifier(auth.Config{PublicKeys: [][]byte{publicPEM(t, small)}}); err == nil {
			t.Error("RSA of 1024 bits was taken")
		}
	}
	for name, cfg := range map[string]auth.Config{
		"nothing":         {},
		"short secret":    {HS256Secret: []byte("short")},
		"not PEM":         {PublicKeys: [][]byte{[]byte("x")}},
		"P-384":           {PublicKeys: [][]byte{publicPEM(t, k.ec384)}},
		"a private key":   {PublicKeys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}},
		"JWKS URL of ftp": {JWKSURL: "ftp://example.com/jwks"},
	} {
		if _, err := auth.NewVerifier(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// jwksServer publishes key sets, or is away.
type jwksServer struct {
	mu    sync.Mutex // protects what follows
	keys  []map[string]string
	away  bool
	asked int
}

func (s *jwksServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.away {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": s.keys})
}

func (s *jwksServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ecJWK(k *ecdsa.PrivateKey, kid string) map[string]string {
	return map[string]string{
		"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
		"x": b64(k.X.FillBytes(make([]byte, 32))), "y": b64(k.Y.FillBytes(make([]byte, 32))),
	}
}

func TestJWKS(t *testing.T) {
	k := makeKeys()
	srv := &jwksServer{keys: []map[string]string{
		ecJWK(k.ec, "ec-1"),
		{"kty": "oct", "kid": "hmac", "k": b64(secret)}, // a secret that everybody can read
		{"kty": "OKP", "crv": "Ed448", "kid": "new", "x": b64(make([]byte, 57))},
		{"kty": "RSA", "kid": "rsa-1", "n": b64(k.rsa.N.Bytes()), "e": b64(big.NewInt(int64(k.rsa.E)).Bytes())},
	}}
	server := httptest.NewServer(srv)
	defer server.Close()
	now := time.Now()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HTTPClient: server.Client(), Now: func() time.Time { return now }})
	ok := func(name, raw string, want bool) {
		t.Helper()
		if _, err := v.Verify(context.Background(), raw); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	ec := sign(t, jwt.SigningMethodES256, k.ec, "ec-1", nil)
	rs := sign(t, jwt.SigningMethodRS256, k.rsa, "rsa-1", nil)
	ok("ES256", ec, true)
	ok("RS256", rs, true)
	ok("no kid", sign(t, jwt.SigningMethodES256, k.ec, "", nil), true)
	ok("the published secret", sign(t, jwt.SigningMethodHS256, secret, "hmac", nil), false)
	ok("a kid of another type", sign(t, jwt.SigningMethodES256, k.ec, "rsa-1", nil), false)
	asked := srv.asked
	for range 100 {
		ok("unknown kid", sign(t, jwt.SigningMethodEdDSA, k.ed, "ed-1", nil), false)
	}
	if srv.asked > asked {
		t.Errorf("unknown keys made %d fetches", srv.asked-asked)
	}

	// Rotation: the new key is found once the retry interval has passed.
	srv.set(func() {
		srv.keys = append(srv.keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": b64(k.ed.Public().(ed25519.PublicKey))})
	})
	now = now.Add(11 * time.Second)
	ok("rotated in", sign(t, jwt.SigningMethodEdDSA, k.ed, "ed-1", nil), true)

	// An outage: what is known stays good, however old.
	srv.set(func() { srv.away = true })
	now = now.Add(20 * time.Minute)
	ok("during an outage", ec, true)
	now = now.Add(20 * time.Minute)
	ok("still", rs, true)

	// Rotation out: gone with the next fetch.
	srv.set(func() { srv.away = false; srv.keys = srv.keys[1:] })
	now = now.Add(time.Minute)
	ok("others", rs, true)
	ok("rotated out", ec, false)
}

func TestJWKSNeverReached(t *testing.T) {
	srv := &jwksServer{away: true}
	server := httptest.NewServer(srv)
	defer server.Close()
	now := time.Now()
	v := newVerifier(t, auth.Config{JWKSURL: server.URL, HS256Secret: secret, HTTPClient: server.Client(), Now: func() time.Time { return now }})
	raw := sign(t, jwt.SigningMethodEdDSA, makeKeys().ed, "ed-1", nil)
	for range 10 {
		// It may be good: nobody can tell.
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrInvalid) {
			t.Fatal(err)
		}
	}
	if srv.asked != 1 {
		t.Errorf("asked %d times", srv.asked)
	}
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, secret, "", nil)); err != nil {
		t.Errorf("the secret does not need the URL: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	// The same in each of the fuzzer's processes.
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "user:u1", "exp": 4102444800}).SignedString(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := v.Verify(t.Context(), s); err != nil && !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%v is no ErrInvalid", err)
		} else if err == nil && !strings.Contains(s, strings.Split(raw, ".")[1]) {
			t.Errorf("accepted %q", s)
		}
	})
}
