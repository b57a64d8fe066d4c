package auth_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// oracleClaims are the claims of a token as the JWT library decodes them.
type oracleClaims struct {
	jwt.RegisteredClaims
	Accounts *[]string `json:"accounts"`
	Scope    string    `json:"scope"`
}

// signParts returns a token with any header and payload.
func signParts(t testing.TB, header, payload string) string {
	t.Helper()
	signed := encodeBase64([]byte(header)) + "." + encodeBase64([]byte(payload))
	signature, err := jwt.SigningMethodHS256.Sign(signed, secret)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encodeBase64(signature)
}

// claimNames are the claims that we read. To the library, NAME is the same as name, and the last of
// two counts.
var claimNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "accounts", "scope"}

// keepExactClaims returns the payload without the claims that the library would confuse with others,
// those whose names differ only in case. It returns false if the payload is not an object, nests too
// deep or has a name twice.
func keepExactClaims(payload string) (string, bool) {
	if !nestsAtMost(payload, 8) {
		return "", false
	}
	dec := jsontext.NewDecoder(strings.NewReader(payload))
	start, err := dec.ReadToken()
	if err != nil || start.Kind() != '{' {
		return "", false
	}
	var kept []string
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return "", false
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return "", false
		}
		if slices.Contains(claimNames, name) {
			kept = append(kept, `"`+name+`":`+string(value))
		}
	}
	_, err = dec.ReadToken()
	if err != nil {
		return "", false
	}
	_, err = dec.ReadToken()
	if !errors.Is(err, io.EOF) {
		return "", false
	}
	return "{" + strings.Join(kept, ",") + "}", true
}

// nestsAtMost reports whether arrays and objects nest at most limit levels deep, to a JSON parser.
func nestsAtMost(payload string, limit int) bool {
	dec := jsontext.NewDecoder(strings.NewReader(payload),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		_, err := dec.ReadToken()
		if err != nil {
			return true // the end, or invalid JSON
		}
		if dec.StackDepth() > limit {
			return false
		}
	}
}

const plainHeader = `{"alg":"HS256","typ":"JWT"}`

// oraclePayloads are the seeds of the fuzzer.
var oraclePayloads = []string{
	`{"sub":"user:u1","exp":4102444800}`,
	`{"sub":"user:u1","exp":4102444800,"scope":"wallet:read admin","jti":"t","iat":1}`,
	`{"sub":"x","exp":4102444800.5,"accounts":["user:u1","model:m1"],"iss":"i","aud":"a","nbf":5}`,
	`{"exp":4102444800,"SUB":"user:u1"}`,
	`{"sub":"user:u1","sub":"user:u2","exp":1,"exp":4102444800,"aud":["a","b"],"groups":["x"],"admin":true,"n":5,"deep":{"a":[1]}}`,
	`{"sub":"us\u0065r:u1","exp":4102444800,"accounts":null}`,
	`{"sub":"user:u1","exp":4102444800,"accounts":[]}`,
	`{"exp":"4102444800"}`,
	`{"sub":"user:u1","exp":4102444800,"aud":[]}`,
	`{"sub":"user:u1","exp":4102444800,"aud":[1]}`,
	`null`,
	`[]`,
	`{`,
	``,
	`{"exp":41024448000000000000}`,
	`{"sub":"user:u1","exp":4102444800,"accounts":["user:u2"],"accounts":["user:u3","user:u4"],"ſub":"x"}`,
	`{"sub":"user:u1","exp":1e400}`,
	`{"sub":"user:u1","exp":4102444800,"Scope":"admin","other":null}`,
	`{"sub":"user:u1","exp":4102444800,"s\u0063ope":"admin","scope":"x"}`,
	`{"sub":"user:u1","exp":4102444800,"x":1,"x":2}`,
	`{"sub":"user:u1","exp":4102444800,"x":{"a":1,"a":2},"x":null}`,
	`{"sub":null,"exp":1} x`,
	`{"sub":"user:u1","exp":4102444800,"iat":4102444800}`,
	`{"sub":"user:u1","exp":4102444800,"iat":4.1e9}`,
	`{"sub":"user:u1","exp":253402300799}`,
	`{"sub":"user:u1","exp":253402300800}`,
	`{"sub":"user:u1","exp":4102444800,"nbf":1e300}`,
}

var oracleHeaders = []string{
	`{"alg":"none"}`,
	`{"ALG":"HS256"}`,
	`{"alg":"HS256","kid":5}`,
	`{"alg":5}`,
	`null`,
	``,
	`{"alg":"HS384"}`,
	`{"alg":"none","alg":"HS256"}`,
	`{"alg":"HS256","crit":["b64"],"b64":false}`,
	`{"alg":"HS256","crit":[]}`,
}

// FuzzAgainstLibrary compares Verify with the JWT library's own parser, for signed tokens with any
// header and payload and as far as names are exact.
func FuzzAgainstLibrary(f *testing.F) {
	for _, payload := range oraclePayloads {
		f.Add(plainHeader, payload)
	}
	for _, header := range oracleHeaders {
		f.Add(header, oraclePayloads[0])
	}
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := signParts(t, header, payload)
		want, accepted := verifyWithLibrary(t, header, payload)
		accepted = accepted && len(raw) <= auth.MaxBytes
		for range 2 { // the second call finds the token in the cache
			got, err := v.Verify(t.Context(), raw)
			if (err == nil) != accepted {
				t.Fatalf("%q %q: got %v, the library accepts it: %v", header, payload, err, accepted)
			}
			if accepted {
				compareClaims(t, got, want)
			}
		}
	})
}

// verifyWithLibrary verifies a token with the library and with our rules that the library lacks.
func verifyWithLibrary(t *testing.T, header, payload string) (claims *oracleClaims, accepted bool) {
	t.Helper()
	exactPayload, isExact := keepExactClaims(payload)
	var members map[string]any
	err := jsonv2.Unmarshal([]byte(header), &members) // refuses duplicate names
	hasGoodHeader := err == nil && nestsAtMost(header, 8) && len(encodeBase64([]byte(header))) <= 1<<10

	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"HS256"}),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(30*time.Second),
	)
	claims = new(oracleClaims)
	_, err = parser.ParseWithClaims(signParts(t, header, exactPayload), claims, func(token *jwt.Token) (any, error) {
		_, isCritical := token.Header["crit"] // the library ignores crit
		if isCritical {
			return nil, errors.New("crit")
		}
		return secret, nil
	})
	accepted = err == nil && isExact && hasGoodHeader && claims.Subject != ""
	return claims, accepted && hasGoodTimes(claims) && hasGoodAccounts(claims)
}

func hasGoodTimes(claims *oracleClaims) bool {
	for _, date := range []*jwt.NumericDate{claims.ExpiresAt, claims.NotBefore, claims.IssuedAt} {
		if date != nil && (date.Year() < 1 || date.Year() > 9999) {
			return false
		}
	}
	return true
}

func hasGoodAccounts(claims *oracleClaims) bool {
	if claims.Accounts == nil {
		return true
	}
	isInvalid := func(account string) bool { return !bus.ValidAccount(account) }
	return !slices.ContainsFunc(*claims.Accounts, isInvalid)
}

func compareClaims(t *testing.T, got *auth.Claims, want *oracleClaims) {
	t.Helper()
	var accounts []string
	switch {
	case want.Accounts != nil:
		accounts = *want.Accounts
	case bus.ValidAccount(want.Subject):
		accounts = []string{want.Subject}
	}
	var issuedAt time.Time
	if want.IssuedAt != nil {
		issuedAt = want.IssuedAt.Time
	}
	if got.Subject != want.Subject {
		t.Errorf("sub: got %q, want %q", got.Subject, want.Subject)
	}
	if got.TokenID != want.ID {
		t.Errorf("jti: got %q, want %q", got.TokenID, want.ID)
	}
	if scopes := strings.Fields(want.Scope); !slices.Equal(got.Scopes, scopes) {
		t.Errorf("scopes: got %q, want %q", got.Scopes, scopes)
	}
	if !slices.Equal(got.Accounts, accounts) {
		t.Errorf("accounts: got %q, want %q", got.Accounts, accounts)
	}
	if !got.ExpiresAt.Equal(want.ExpiresAt.Time) {
		t.Errorf("exp: got %v, want %v", got.ExpiresAt, want.ExpiresAt)
	}
	if !got.IssuedAt.Equal(issuedAt) {
		t.Errorf("iat: got %v, want %v", got.IssuedAt, issuedAt)
	}
}
