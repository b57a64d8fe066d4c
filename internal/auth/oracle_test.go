package auth_test

import (
	"errors"
	"fmt"
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

// readNames are the names that we read. To the library, NAME is name and the last of two counts.
var readNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "accounts", "scope"}

// exactly is the payload without the members that the library would confuse with others: claims whose name differs only in
// case. It is false when a name comes twice at any level, when the JSON nests too deep, or when the payload is no object.
func exactly(payload string) (string, bool) {
	if !nestsAtMost(payload, 8) {
		return "", false
	}
	dec := jsontext.NewDecoder(strings.NewReader(payload))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return "", false
	}
	var kept []string
	for dec.PeekKind() == '"' {
		t, err := dec.ReadToken()
		if err != nil {
			return "", false
		}
		name := t.String()
		value, err := dec.ReadValue()
		if err != nil {
			return "", false
		}
		if !slices.Contains(readNames, name) {
			continue
		}
		kept = append(kept, `"`+name+`":`+string(value))
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", false
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return "", false
	}
	return "{" + strings.Join(kept, ",") + "}", true
}

// nestsAtMost tells whether arrays and objects nest at most so deep, as a JSON parser sees it.
func nestsAtMost(payload string, limit int) bool {
	dec := jsontext.NewDecoder(strings.NewReader(payload), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := dec.ReadToken(); err != nil {
			return true // it is the end, or no JSON
		}
		if dec.StackDepth() > limit {
			return false
		}
	}
}

// Whatever is in a well signed token, we and the JWT library's own parser agree about it, as far as names are exact.
func FuzzAgainstLibrary(f *testing.F) {
	const plain = `{"alg":"HS256","typ":"JWT"}`
	for _, payload := range []string{
		`{"sub":"user:u1","exp":4102444800}`, `{"sub":"user:u1","exp":4102444800,"scope":"wallet:read admin","jti":"t","iat":1}`,
		`{"sub":"x","exp":4102444800.5,"accounts":["user:u1","model:m1"],"iss":"i","aud":"a","nbf":5}`, `{"exp":4102444800,"SUB":"user:u1"}`,
		`{"sub":"user:u1","sub":"user:u2","exp":1,"exp":4102444800,"aud":["a","b"],"groups":["x"],"admin":true,"n":5,"deep":{"a":[1]}}`,
		`{"sub":"us\u0065r:u1","exp":4102444800,"accounts":null}`, `{"sub":"user:u1","exp":4102444800,"accounts":[]}`, `{"exp":"4102444800"}`,
		`{"sub":"user:u1","exp":4102444800,"aud":[]}`, `{"sub":"user:u1","exp":4102444800,"aud":[1]}`, `null`, `[]`, `{`, ``, `{"exp":41024448000000000000}`,
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u2"],"accounts":["user:u3","user:u4"],"ſub":"x"}`, `{"sub":"user:u1","exp":1e400}`,
		`{"sub":"user:u1","exp":4102444800,"Scope":"admin","other":null}`, `{"sub":"user:u1","exp":4102444800,"s\u0063ope":"admin","scope":"x"}`,
		`{"sub":"user:u1","exp":4102444800,"x":1,"x":2}`, `{"sub":"user:u1","exp":4102444800,"x":{"a":1,"a":2},"x":null}`, `{"sub":null,"exp":1} x`,
		`{"sub":"user:u1","exp":4102444800,"iat":4102444800}`, `{"sub":"user:u1","exp":4102444800,"iat":4.1e9}`,
		`{"sub":"user:u1","exp":253402300799}`, `{"sub":"user:u1","exp":253402300800}`, `{"sub":"user:u1","exp":4102444800,"nbf":1e300}`,
	} {
		f.Add(plain, payload)
	}
	for _, header := range []string{
		`{"alg":"none"}`, `{"ALG":"HS256"}`, `{"alg":"HS256","kid":5}`, `{"alg":5}`, `null`, ``, `{"alg":"HS384"}`, `{"alg":"none","alg":"HS256"}`,
		`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"alg":"HS256","crit":[]}`,
	} {
		f.Add(header, `{"sub":"user:u1","exp":4102444800}`)
	}
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(30*time.Second))
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := signParts(t, header, payload)
		exact, good := exactly(payload)
		var members map[string]any
		good = good && nestsAtMost(header, 8) && jsonv2.Unmarshal([]byte(header), &members) == nil // without duplicates
		good = good && len(b64([]byte(header))) <= 1<<10
		var want oracleClaims
		_, err := parser.ParseWithClaims(signParts(t, header, exact), &want, func(parsed *jwt.Token) (any, error) {
			if _, critical := parsed.Header["crit"]; critical { // the library does not look
				return nil, errors.New("crit")
			}
			return secret, nil
		})
		good = good && err == nil && len(raw) <= auth.MaxBytes && want.Subject != ""
		for _, d := range []*jwt.NumericDate{want.ExpiresAt, want.NotBefore, want.IssuedAt} {
			good = good && (d == nil || (d.Year() >= 1 && d.Year() <= 9999))
		}
		if good && want.Accounts != nil {
			good = !slices.ContainsFunc(*want.Accounts, func(a string) bool { return !bus.ValidAccount(a) })
		}
		for range 2 { // the second time the token is in the cache
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

func agree(t *testing.T, got *auth.Claims, want *oracleClaims) {
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
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	if c, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256","crit":["exp"]}`, `{"sub":"user:u1","exp":4102444800}`)); err == nil {
		t.Errorf("accepted as %+v", c)
	}
}

// Names are exact and no member comes twice (RFC 7519 section 4), however the token is written.
func TestNamesAreExact(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	const head = `{"alg":"HS256"}`
	for payload, want := range map[string]string{ // scopes and accounts; empty: refused
		`{"sub":"user:u1","exp":4102444800,"Scope":"admin"}`:                                             "[] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","SCOPE":"admin","Accounts":["user:v"]}`:           "[a] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"Accounts":3,"EXP":1}`:                                        "[] [user:u1]",
		`{"sub":"user:u1","EXP":4102444800}`:                                                             "",
		`{"sub":"user:u1","exp":4102444800,"exp":4102444801}`:                                            "",
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u"],"accounts":["user:v"]}`:                 "",
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u"],"\u0061ccounts":["user:v"]}`:            "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","scope":"a"}`:                                     "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"jti":"j"}`:     "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"iat":1}`:       "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"nbf":1}`:       "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"aud":["a"]}`:   "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"iss":"i"}`:     "",
		`{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1,"sub":"x"}`:     "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":1,"other":2}`:                             "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":{"a":1,"a":2}}`:                           "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":1,"Other":3}`:                             "[a] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","iss":"i","aud":"a","jti":"j","nbf":1,"iat":1.5}`: "[a] [user:u1]",
	} {
		for _, p := range []string{payload, strings.Replace(payload, "{", `{"n":null,`, 1)} {
			got := ""
			if c, err := v.Verify(t.Context(), signParts(t, head, p)); err == nil {
				got = fmt.Sprint(c.Scopes, c.Accounts)
			}
			if got != want {
				t.Errorf("%s: %q, want %q", p, got, want)
			}
		}
	}
	for header, want := range map[string]bool{
		`{"alg":"HS256","typ":"JWT","ALG":"none","Crit":["x"],"KID":1}`: true,
		`{"ALG":"HS256"}`:                           false,
		`{"alg":"none","alg":"HS256"}`:              false,
		`{"alg":"HS256","alg":"HS256"}`:             false,
		`{"alg":"HS256","typ":"JWT","typ":"x"}`:     false,
		`{"alg":"HS256","kid":"a","kid":"b"}`:       false,
		`{"alg":"HS256","\u0061lg":"HS256"}`:        false,
		`{"alg":"HS256","typ":"JWT","Typ":"x"}`:     true,
		`{"alg":"HS256","crit":["a"],"crit":["b"]}`: false,
	} {
		_, err := v.Verify(t.Context(), signParts(t, header, `{"sub":"user:u1","exp":4102444800}`))
		if (err == nil) != want {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// Times that cannot be written, or do not fit into an integer, are refused.
func TestTimesBeyondCalendars(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for times, want := range map[string]bool{
		`"exp":253402300799`: true, `"exp":253402300799.0`: true, `"exp":253402300800`: false, `"exp":253402300800.5`: false,
		`"exp":1000000000000000000`: false, `"exp":1e18`: false, `"exp":1e300`: false, `"exp":-1e300`: false,
		`"exp":4102444800,"nbf":1e300`: false, `"exp":4102444800,"nbf":-1e300`: false, `"exp":4102444800,"iat":1e300`: false,
		`"exp":4102444800,"iat":-1e300`: false, `"exp":4102444800,"nbf":0,"iat":-1`: true, `"exp":4102444800,"iat":1e18`: false,
	} {
		if _, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256"}`, `{"sub":"user:u1",`+times+`}`)); (err == nil) != want {
			t.Errorf("%s: %v", times, err)
		}
	}
}

// The limits of a token's form, checked before it is parsed.
func TestForm(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	const claims = `{"sub":"user:u1","exp":4102444800`
	nested := func(levels int) string {
		return claims + `,"deep":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
	}
	good := signParts(t, `{"alg":"HS256"}`, claims+"}")
	last := good[len(good)-1]
	for name, tc := range map[string]struct {
		raw  string
		want bool
	}{
		"plain":                       {good, true},
		"nested 8 deep":               {signParts(t, `{"alg":"HS256"}`, nested(8)), true},
		"nested 9 deep":               {signParts(t, `{"alg":"HS256"}`, nested(9)), false},
		"brackets in a string":        {signParts(t, `{"alg":"HS256"}`, claims+`,"s":"\"[[[[[[[[[["}`), true},
		"header nested 9 deep":        {signParts(t, `{"alg":"HS256","x":[[[[[[[[]]]]]]]]}`, claims+"}"), false},
		"header of 1 KiB":             {signParts(t, `{"alg":"HS256","x":"`+strings.Repeat("x", 768-22)+`"}`, claims+"}"), true},
		"header above 1 KiB":          {signParts(t, `{"alg":"HS256","x":"`+strings.Repeat("x", 768-21)+`"}`, claims+"}"), false},
		"padded base64":               {good + "=", false},
		"bits after the last byte":    {good[:len(good)-1] + string(nextLetter(last)), false},
		"a line break":                {good[:10] + "\n" + good[10:], false},
		"a fourth part":               {good + ".e30", false},
		"base64 of the usual letters": {strings.Replace(good, ".", "+.", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := v.Verify(t.Context(), tc.raw); (err == nil) != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
}

// nextLetter returns another letter of base64url that decodes to the same bytes at the end of an HS256 signature, whose
// last letter has two unused bits.
func nextLetter(c byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, c)+1]
}

// A payload of null says nothing, so it lacks exp.
func TestNull(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	if c, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256"}`, "null")); err == nil {
		t.Errorf("accepted as %+v", c)
	}
}
