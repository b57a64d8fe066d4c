package token_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/token"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// oracleClaims are a token's claims as the JWT library reads them.
type oracleClaims struct {
	jwt.RegisteredClaims
	Accounts *[]string `json:"accounts"`
	Scope    string    `json:"scope"`
}

// signParts makes a token of any header and payload.
func signParts(t testing.TB, header, payload string) string {
	t.Helper()
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	signature, err := jwt.SigningMethodHS256.Sign(signed, secret)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(signature)
}

// Whatever is in a well signed token, we and the JWT library's own parser agree about it.
func FuzzAgainstLibrary(f *testing.F) {
	const plain = `{"alg":"HS256","typ":"JWT"}`
	for _, payload := range []string{
		`{"sub":"user:u1","exp":4102444800}`, `{"sub":"user:u1","exp":4102444800,"scope":"wallet:read admin","jti":"t","iat":1}`,
		`{"sub":"x","exp":4102444800.5,"accounts":["user:u1","model:m1"],"iss":"i","aud":"a","nbf":5}`, `{"exp":4102444800,"SUB":"user:u1"}`,
		`{"sub":"user:u1","sub":"user:u2","exp":1,"exp":4102444800,"aud":["a","b"],"groups":["x"],"admin":true,"n":5,"deep":{"a":[1]}}`,
		`{"sub":"us\u0065r:u1","exp":4102444800,"accounts":null}`, `{"sub":"user:u1","exp":4102444800,"accounts":[]}`, `{"exp":"4102444800"}`,
		`{"sub":"user:u1","exp":4102444800,"aud":[]}`, `{"sub":"user:u1","exp":4102444800,"aud":[1]}`, `null`, `[]`, `{`, ``, `{"exp":41024448000000000000}`,
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u2"],"accounts":["user:u3","user:u4"],"ſub":"x"}`, `{"sub":"user:u1","exp":1e400}`,
	} {
		f.Add(plain, payload)
	}
	for _, header := range []string{
		`{"alg":"none"}`, `{"ALG":"HS256"}`, `{"alg":"HS256","kid":5}`, `{"alg":5}`, `null`, ``, `{"alg":"HS384"}`, `{"alg":"none","alg":"HS256"}`,
		`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"alg":"HS256","crit":[]}`,
	} {
		f.Add(header, `{"sub":"user:u1","exp":4102444800}`)
	}
	v, err := token.NewVerifier(token.Config{HS256Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithLeeway(30*time.Second))
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := signParts(t, header, payload)
		if json.Valid([]byte(payload)) && strings.TrimSpace(payload) == "null" {
			return // the library panics
		}
		var want oracleClaims
		_, err := parser.ParseWithClaims(raw, &want, func(parsed *jwt.Token) (any, error) {
			if _, critical := parsed.Header["crit"]; critical { // the library does not look
				return nil, errors.New("crit")
			}
			return secret, nil
		})
		good := err == nil && len(raw) <= token.MaxBytes && want.Subject != ""
		if good && want.Accounts != nil {
			good = !slices.ContainsFunc(*want.Accounts, func(a string) bool { return !bus.ValidAccount(a) })
		}
		for range 2 { // the second time the header is known
			got, err := v.Verify(t.Context(), raw)
			if (err == nil) != good {
				t.Fatalf("%q %q: %v, the library says %v", header, payload, err, good)
			}
			if good {
				agree(t, got, &want)
			}
		}
	})
}

func agree(t *testing.T, got *token.Claims, want *oracleClaims) {
	t.Helper()
	var accounts []string
	if want.Accounts != nil {
		accounts = *want.Accounts
	} else if bus.ValidAccount(want.Subject) {
		accounts = []string{want.Subject}
	}
	var issued time.Time
	if want.IssuedAt != nil {
		issued = want.IssuedAt.Time
	}
	if got.Subject != want.Subject || got.TokenID != want.ID || !slices.Equal(got.Scopes, strings.Fields(want.Scope)) ||
		!slices.Equal(got.Accounts, accounts) || !got.ExpiresAt.Equal(want.ExpiresAt.Time) || !got.IssuedAt.Equal(issued) {
		t.Errorf("%+v, the library has %+v", got, want)
	}
}

// A token with extensions that its reader must know is refused (RFC 7515 section 4.1.11).
func TestCritical(t *testing.T) {
	v := newVerifier(t, token.Config{HS256Secret: secret})
	if c, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256","crit":["exp"]}`, `{"sub":"user:u1","exp":4102444800}`)); err == nil {
		t.Errorf("accepted as %+v", c)
	}
}

// A payload of null says nothing, so it lacks exp.
func TestNull(t *testing.T) {
	v := newVerifier(t, token.Config{HS256Secret: secret})
	if c, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256"}`, "null")); err == nil {
		t.Errorf("accepted as %+v", c)
	}
}
