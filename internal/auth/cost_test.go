package auth_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
)

// The work for a token whose signature is wrong is bounded, whatever its parts contain.
func TestCostOfForgedTokens(t *testing.T) {
	const (
		repeats  = 50
		maxBytes = 128 << 10
	)
	// forge replaces the last letters of the signature.
	forge := func(header, payload string) string {
		raw := signParts(t, header, payload)
		return raw[:len(raw)-8] + "AAAAAAAA"
	}
	const header = `{"alg":"HS256"}`
	const claims = `{"sub":"user:u1","exp":4102444800`
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for name, raw := range map[string]string{
		"large header":   forge(padHeader(5000), claims+"}"),
		"members":        forge(`{"alg":"HS256"`+strings.Repeat(`,"a":1`, 100)+`}`, claims+"}"),
		"nested header":  forge(`{"alg":"HS256","x":`+strings.Repeat("[", 500)+`}`, claims+"}"),
		"many accounts":  forge(header, claims+`,"accounts":["u"`+strings.Repeat(`,"u"`, 1300)+`]}`),
		"nested payload": forge(header, claims+`,"x":`+strings.Repeat("[", 5000)),
		"long text":      forge(header, claims+`,"x":"`+strings.Repeat(`\n`, 2900)+`"}`),
		"dots":           strings.Repeat(".", 8<<10),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range repeats {
				_, err := v.Verify(t.Context(), raw)
				if err == nil {
					t.Fatal("a forged token was accepted")
				}
			}
			runtime.ReadMemStats(&after)
			allocated := (after.TotalAlloc - before.TotalAlloc) / repeats
			t.Logf("%d bytes", allocated)
			if allocated > maxBytes {
				t.Errorf("got %d allocated bytes for each token, want at most %d", allocated, maxBytes)
			}
		})
	}
}
