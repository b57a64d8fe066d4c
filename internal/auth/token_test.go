package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
)

var secret = []byte("a-secret-for-tests-of-32-bytes-or-more")

// keySet is a key of each kind.
type keySet struct {
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	ed    ed25519.PrivateKey
	ec384 *ecdsa.PrivateKey
}

// testKeys makes the keys once, since RSA keys take long.
var testKeys = sync.OnceValue(func() keySet {
	var k keySet
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

// signToken returns a token of user:u1 that is valid for an hour. change may change its claims.
func signToken(t *testing.T, method jwt.SigningMethod, key any, kid string, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{
		"sub": "user:u1",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	raw, err := token.SignedString(key)
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

func TestVerifyReturnsSignedClaims(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret, Issuer: "core", Audience: "app"})
	raw, err := auth.Sign(secret, auth.Request{
		Subject:  "service:queue",
		Accounts: []string{"user:u1", "model:m1"},
		Scopes:   []string{auth.ScopeSettle, auth.ScopeRead},
		Issuer:   "core",
		Audience: "app",
		TTL:      time.Hour,
		TokenID:  "t1",
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "service:queue" {
		t.Errorf("subject: got %q, want service:queue", c.Subject)
	}
	if c.TokenID != "t1" {
		t.Errorf("token id: got %q, want t1", c.TokenID)
	}
	if want := []string{"user:u1", "model:m1"}; !slices.Equal(c.Accounts, want) {
		t.Errorf("accounts: got %q, want %q", c.Accounts, want)
	}
	ttl := time.Until(c.ExpiresAt)
	if ttl < 59*time.Minute || ttl > time.Hour {
		t.Errorf("time to live: got %v, want about an hour", ttl)
	}
}

func TestClaimsPermit(t *testing.T) {
	c := &auth.Claims{
		Accounts: []string{"user:u1"},
		Scopes:   []string{auth.ScopeSettle, auth.ScopeRead},
	}
	for name, tc := range map[string]struct{ got, want bool }{
		"own scope":           {c.Has(auth.ScopeSettle), true},
		"other scope":         {c.Has(auth.ScopeAdmin), false},
		"see own account":     {c.MaySee("user:u1"), true},
		"see other account":   {c.MaySee("user:u2"), false},
		"read with the scope": {c.MayRead("user:u2"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %v, want %v", tc.got, tc.want)
			}
		})
	}
}

func TestAccountsOfToken(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for name, tc := range map[string]struct {
		change func(jwt.MapClaims)
		want   []string // nil: the token is refused
	}{
		"no claim, sub is an account":  {nil, []string{"user:u1"}},
		"no claim, sub is no account":  {func(c jwt.MapClaims) { c["sub"] = "service:x" }, []string{}},
		"claim with an account":        {func(c jwt.MapClaims) { c["accounts"] = []string{"model:m1"} }, []string{"model:m1"}},
		"empty claim":                  {func(c jwt.MapClaims) { c["accounts"] = []string{} }, []string{}},
		"claim with something else":    {func(c jwt.MapClaims) { c["accounts"] = []string{"*"} }, nil},
		"claim is a string":            {func(c jwt.MapClaims) { c["accounts"] = "user:u1" }, nil},
		"no sub":                       {func(c jwt.MapClaims) { delete(c, "sub") }, nil},
		"scope of the wrong JSON type": {func(c jwt.MapClaims) { c["scope"] = 5 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := v.Verify(t.Context(), signToken(t, jwt.SigningMethodHS256, secret, "", tc.change))
			if tc.want == nil {
				if err == nil {
					t.Errorf("got claims %+v, want an error", c)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.Accounts, tc.want) {
				t.Errorf("accounts: got %q, want %q", c.Accounts, tc.want)
			}
		})
	}
}

// setIssuer sets the issuer and the audience that the verifiers of these tests require.
func setIssuer(c jwt.MapClaims) {
	c["iss"] = "core"
	c["aud"] = []string{"other", "app"}
}

// signFor returns a token with the required issuer and audience. change may change its claims.
func signFor(t *testing.T, change func(jwt.MapClaims)) string {
	t.Helper()
	return signToken(t, jwt.SigningMethodHS256, secret, "", func(c jwt.MapClaims) {
		setIssuer(c)
		if change != nil {
			change(c)
		}
	})
}

func TestVerifyAccepts(t *testing.T) {
	k := testKeys()
	v := newVerifier(t, auth.Config{
		HS256Secret: secret,
		PublicKeys:  [][]byte{publicPEM(t, k.ed)},
		Issuer:      "core",
		Audience:    "app",
	})
	for name, raw := range map[string]string{
		"HS256":                     signFor(t, nil),
		"EdDSA":                     signToken(t, jwt.SigningMethodEdDSA, k.ed, "", setIssuer),
		"exp within the leeway":     signFor(t, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-20 * time.Second).Unix() }),
		"iat within the leeway":     signFor(t, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(20 * time.Second).Unix() }),
		"one of several audiences":  signFor(t, func(c jwt.MapClaims) { c["aud"] = []string{"x", "app"} }),
		"audience that is a string": signFor(t, func(c jwt.MapClaims) { c["aud"] = "app" }),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), raw)
			if err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	k := testKeys()
	rsaPEM := publicPEM(t, k.rsa)
	v := newVerifier(t, auth.Config{
		HS256Secret: secret,
		PublicKeys:  [][]byte{publicPEM(t, k.ed)},
		Issuer:      "core",
		Audience:    "app",
	})
	onlyRSA := newVerifier(t, auth.Config{PublicKeys: [][]byte{rsaPEM}})
	otherSecret := []byte("another-secret-of-32-bytes-or-more-1")
	otherEd25519 := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for name, tc := range map[string]struct {
		v   *auth.Verifier
		raw string
	}{
		"empty":             {v, ""},
		"not base64":        {v, "a.b.c"},
		"two parts":         {v, "a.b"},
		"too long":          {v, signFor(t, func(c jwt.MapClaims) { c["pad"] = strings.Repeat("x", auth.MaxBytes) })},
		"expired":           {v, signFor(t, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-31 * time.Second).Unix() })},
		"no exp":            {v, signFor(t, func(c jwt.MapClaims) { delete(c, "exp") })},
		"nbf in the future": {v, signFor(t, func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Minute).Unix() })},
		"iat in the future": {v, signFor(t, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(32 * time.Second).Unix() })},
		"other issuer":      {v, signFor(t, func(c jwt.MapClaims) { c["iss"] = "evil" })},
		"no issuer":         {v, signFor(t, func(c jwt.MapClaims) { delete(c, "iss") })},
		"other audience":    {v, signFor(t, func(c jwt.MapClaims) { c["aud"] = "web" })},
		"other secret":      {v, signToken(t, jwt.SigningMethodHS256, otherSecret, "", setIssuer)},
		"other Ed25519 key": {v, signToken(t, jwt.SigningMethodEdDSA, otherEd25519, "", setIssuer)},
		"alg none":          {v, signToken(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", setIssuer)},
		"HS512":             {v, signToken(t, jwt.SigningMethodHS512, secret, "", setIssuer)},
		"RS256, no RSA key": {v, signToken(t, jwt.SigningMethodRS256, k.rsa, "", setIssuer)},
		"HS256, public key": {onlyRSA, signToken(t, jwt.SigningMethodHS256, rsaPEM, "", nil)},
		"PS256":             {onlyRSA, signToken(t, jwt.SigningMethodPS256, k.rsa, "", nil)},
		"HS256, no secret":  {onlyRSA, signToken(t, jwt.SigningMethodHS256, secret, "", nil)},
		"HS256, empty key":  {onlyRSA, signToken(t, jwt.SigningMethodHS256, []byte{}, "", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.v.Verify(t.Context(), tc.raw)
			if !errors.Is(err, auth.ErrInvalid) {
				t.Fatalf("error: got %v, want ErrInvalid", err)
			}
			reason := auth.Reason(err)
			if reason == "" {
				t.Error("reason: got none")
			}
			if len(tc.raw) > 10 && strings.Contains(reason, tc.raw[:10]) {
				t.Errorf("reason: got %q, which quotes the token", reason)
			}
		})
	}
}

func TestPublicKeysVerify(t *testing.T) {
	k := testKeys()
	v := newVerifier(t, auth.Config{PublicKeys: [][]byte{publicPEM(t, k.rsa), publicPEM(t, k.ec), publicPEM(t, k.ed)}})
	for name, raw := range map[string]string{
		"RS256": signToken(t, jwt.SigningMethodRS256, k.rsa, "", nil),
		"ES256": signToken(t, jwt.SigningMethodES256, k.ec, "any-kid", nil),
		"EdDSA": signToken(t, jwt.SigningMethodEdDSA, k.ed, "", nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), raw)
			if err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	k := testKeys()
	private, err := x509.MarshalPKCS8PrivateKey(k.ed)
	if err != nil {
		t.Fatal(err)
	}
	privatePEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	configs := map[string]auth.Config{
		"no key":          {},
		"short secret":    {HS256Secret: []byte("short")},
		"not PEM":         {PublicKeys: [][]byte{[]byte("x")}},
		"P-384":           {PublicKeys: [][]byte{publicPEM(t, k.ec384)}},
		"a private key":   {PublicKeys: [][]byte{privatePEM}},
		"JWKS URL of ftp": {JWKSURL: "ftp://example.com/jwks"},
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it must be refused
	if err == nil {
		configs["RSA with 1024 bits"] = auth.Config{PublicKeys: [][]byte{publicPEM(t, small)}}
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			_, err := auth.NewVerifier(cfg)
			if err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	// The token is the same in all processes of the fuzzer.
	claims := jwt.MapClaims{"sub": "user:u1", "exp": 4102444800}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		f.Fatal(err)
	}
	payload := strings.Split(raw, ".")[1]
	f.Add(raw)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, err := v.Verify(t.Context(), token)
		if err != nil && !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("error: got %v, want ErrInvalid", err)
		}
		if err == nil && !strings.Contains(token, payload) {
			t.Errorf("%q: got no error, want one", token)
		}
	})
}
