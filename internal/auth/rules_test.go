package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
)

// The tests of this file are about the rules that the JWT library lacks.

// A token with critical extensions is refused (RFC 7515 section 4.1.11).
func TestCriticalExtensionsAreRefused(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	raw := signParts(t, `{"alg":"HS256","crit":["exp"]}`, `{"sub":"user:u1","exp":4102444800}`)
	expectVerify(t, v, "crit", raw, auth.ErrInvalid)
}

// The names of claims are exact, and no member occurs twice (RFC 7519 section 4).
func TestClaimNamesAreExact(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	const allClaims = `{"iss":"i","sub":"user:u1","exp":4102444800,"aud":"a","jti":"j","nbf":1,"iat":1`
	for payload, want := range map[string]string{ // scopes and accounts; "" means refused
		`{"sub":"user:u1","exp":4102444800,"Scope":"admin"}`:                                             "[] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","SCOPE":"admin","Accounts":["user:v"]}`:           "[a] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"Accounts":3,"EXP":1}`:                                        "[] [user:u1]",
		`{"sub":"user:u1","EXP":4102444800}`:                                                             "",
		`{"sub":"user:u1","exp":4102444800,"exp":4102444801}`:                                            "",
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u"],"accounts":["user:v"]}`:                 "",
		`{"sub":"user:u1","exp":4102444800,"accounts":["user:u"],"\u0061ccounts":["user:v"]}`:            "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","scope":"a"}`:                                     "",
		allClaims + `,"jti":"j"}`:                                                                        "",
		allClaims + `,"iat":1}`:                                                                          "",
		allClaims + `,"nbf":1}`:                                                                          "",
		allClaims + `,"aud":["a"]}`:                                                                      "",
		allClaims + `,"iss":"i"}`:                                                                        "",
		allClaims + `,"sub":"x"}`:                                                                        "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":1,"other":2}`:                             "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":{"a":1,"a":2}}`:                           "",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","other":1,"Other":3}`:                             "[a] [user:u1]",
		`{"sub":"user:u1","exp":4102444800,"scope":"a","iss":"i","aud":"a","jti":"j","nbf":1,"iat":1.5}`: "[a] [user:u1]",
	} {
		for _, variant := range []string{payload, strings.Replace(payload, "{", `{"n":null,`, 1)} {
			t.Run(variant, func(t *testing.T) {
				got := ""
				claims, err := v.Verify(t.Context(), signParts(t, `{"alg":"HS256"}`, variant))
				if err == nil {
					got = fmt.Sprint(claims.Scopes, claims.Accounts)
				}
				if got != want {
					t.Errorf("scopes and accounts: got %q, want %q", got, want)
				}
			})
		}
	}
}

// The names of header members are exact, and no member occurs twice (RFC 7515 section 4).
func TestHeaderNamesAreExact(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for header, want := range map[string]error{
		`{"alg":"HS256","typ":"JWT","ALG":"none","Crit":["x"],"KID":1}`: nil,
		`{"alg":"HS256","typ":"JWT","Typ":"x"}`:                         nil,
		`{"ALG":"HS256"}`:                                               auth.ErrInvalid,
		`{"alg":"none","alg":"HS256"}`:                                  auth.ErrInvalid,
		`{"alg":"HS256","alg":"HS256"}`:                                 auth.ErrInvalid,
		`{"alg":"HS256","typ":"JWT","typ":"x"}`:                         auth.ErrInvalid,
		`{"alg":"HS256","kid":"a","kid":"b"}`:                           auth.ErrInvalid,
		`{"alg":"HS256","\u0061lg":"HS256"}`:                            auth.ErrInvalid,
		`{"alg":"HS256","crit":["a"],"crit":["b"]}`:                     auth.ErrInvalid,
	} {
		t.Run(header, func(t *testing.T) {
			raw := signParts(t, header, `{"sub":"user:u1","exp":4102444800}`)
			expectVerify(t, v, "token", raw, want)
		})
	}
}

// Times outside of the years 1 to 9999, or beyond an integer, are refused.
func TestTimesMustBeInCalendar(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for times, want := range map[string]error{
		`"exp":253402300799`:                nil,
		`"exp":253402300799.0`:              nil,
		`"exp":253402300800`:                auth.ErrInvalid,
		`"exp":253402300800.5`:              auth.ErrInvalid,
		`"exp":1000000000000000000`:         auth.ErrInvalid,
		`"exp":1e18`:                        auth.ErrInvalid,
		`"exp":1e300`:                       auth.ErrInvalid,
		`"exp":-1e300`:                      auth.ErrInvalid,
		`"exp":4102444800,"nbf":1e300`:      auth.ErrInvalid,
		`"exp":4102444800,"nbf":-1e300`:     auth.ErrInvalid,
		`"exp":4102444800,"iat":1e300`:      auth.ErrInvalid,
		`"exp":4102444800,"iat":-1e300`:     auth.ErrInvalid,
		`"exp":4102444800,"nbf":0,"iat":-1`: nil,
		`"exp":4102444800,"iat":1e18`:       auth.ErrInvalid,
	} {
		t.Run(times, func(t *testing.T) {
			raw := signParts(t, `{"alg":"HS256"}`, `{"sub":"user:u1",`+times+`}`)
			expectVerify(t, v, "token", raw, want)
		})
	}
}

// nest returns a payload whose arrays nest so that the whole has the given depth.
func nest(claims string, levels int) string {
	return claims + `,"deep":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
}

// padHeader returns a header whose base64 has 1 KiB when its JSON has 768 bytes.
func padHeader(bytes int) string {
	const start, end = `{"alg":"HS256","x":"`, `"}`
	return start + strings.Repeat("x", bytes-len(start)-len(end)) + end
}

func TestFormOfTokens(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	const header = `{"alg":"HS256"}`
	const claims = `{"sub":"user:u1","exp":4102444800`
	good := signParts(t, header, claims+"}")
	last := good[len(good)-1]
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"plain":                       {good, nil},
		"nested 8 deep":               {signParts(t, header, nest(claims, 8)), nil},
		"nested 9 deep":               {signParts(t, header, nest(claims, 9)), auth.ErrInvalid},
		"brackets in a string":        {signParts(t, header, claims+`,"s":"\"[[[[[[[[[["}`), nil},
		"header nested 9 deep":        {signParts(t, `{"alg":"HS256","x":[[[[[[[[]]]]]]]]}`, claims+"}"), auth.ErrInvalid},
		"header of 1 KiB":             {signParts(t, padHeader(768), claims+"}"), nil},
		"header above 1 KiB":          {signParts(t, padHeader(769), claims+"}"), auth.ErrInvalid},
		"payload of null":             {signParts(t, header, "null"), auth.ErrInvalid},
		"padded base64":               {good + "=", auth.ErrInvalid},
		"bits after the last byte":    {good[:len(good)-1] + string(nextLetter(last)), auth.ErrInvalid},
		"a line break":                {good[:10] + "\n" + good[10:], auth.ErrInvalid},
		"a fourth part":               {good + ".e30", auth.ErrInvalid},
		"base64 of the usual letters": {strings.Replace(good, ".", "+.", 1), auth.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) { expectVerify(t, v, "token", tc.raw, tc.want) })
	}
}

// nextLetter returns another letter of base64url that decodes to the same bytes at the end of an
// HS256 signature. The last letter of the signature has two unused bits.
func nextLetter(c byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, c)+1]
}
