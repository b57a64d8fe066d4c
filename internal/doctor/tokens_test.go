package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/doctor"
)

const secret = "a-secret-of-tests-with-more-than-32-bytes"

func newVerifier(t *testing.T, cfg auth.Config) *auth.Verifier {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	v, err := auth.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// writeCertificate writes a certificate that is valid until a time, and returns its file.
func writeCertificate(t *testing.T, end time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    end.Add(-24 * time.Hour),
		NotAfter:     end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "certificate.pem")
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTokens(t *testing.T) {
	t.Parallel()
	sign := func(key string, ttl time.Duration, scopes ...string) string {
		token, err := auth.Sign([]byte(key), auth.Request{Subject: "gateway", Scopes: scopes, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	hs256 := newVerifier(t, auth.Config{HS256Secret: []byte(secret)})
	now := time.Now()
	const day = 24 * time.Hour

	for _, tc := range []struct {
		name string
		cfg  doctor.TokenConfig
		want finding
	}{
		{"key", doctor.TokenConfig{Verifier: hs256}, finding{doctor.OK, "tokens/keys", "HS256"}},
		{"no key", doctor.TokenConfig{VerifierError: errors.New("a key is required")}, finding{doctor.Fail, "tokens/keys", "a key is required"}},
		{"no token", doctor.TokenConfig{Verifier: hs256}, finding{doctor.Skip, "tokens/core-token", "not given"}},
		{
			"good token", doctor.TokenConfig{Verifier: hs256, CoreToken: sign(secret, 365*day, auth.ScopeRead)},
			finding{doctor.OK, "tokens/core-token", "sub gateway, scopes wallet:read, valid until"},
		},
		{
			"token that expires soon", doctor.TokenConfig{Verifier: hs256, CoreToken: sign(secret, day, auth.ScopeRead)},
			finding{doctor.Warn, "tokens/core-token", "expires on"},
		},
		{
			"expired token", doctor.TokenConfig{Verifier: hs256, CoreToken: sign(secret, -day, auth.ScopeRead)},
			finding{doctor.Fail, "tokens/core-token", "has expired"},
		},
		{
			"token without the scope", doctor.TokenConfig{Verifier: hs256, CoreToken: sign(secret, 365*day, auth.ScopeCredit)},
			finding{doctor.Fail, "tokens/core-token", "must have the scope wallet:read; it has wallet:credit"},
		},
		{
			"token of another secret", doctor.TokenConfig{Verifier: hs256, CoreToken: sign("another-"+secret, 365*day, auth.ScopeRead)},
			finding{doctor.Fail, "tokens/core-token", "signature"},
		},
		{
			"certificate", doctor.TokenConfig{Verifier: hs256, TLSCert: writeCertificate(t, now.Add(100*day))},
			finding{doctor.OK, "tokens/certificate", "is valid until"},
		},
		{
			"certificate that expires soon", doctor.TokenConfig{Verifier: hs256, TLSCert: writeCertificate(t, now.Add(day))},
			finding{doctor.Warn, "tokens/certificate", "expires on"},
		},
		{
			"expired certificate of the listener", doctor.TokenConfig{Verifier: hs256, TLSCert: writeCertificate(t, now.Add(-day))},
			finding{doctor.Fail, "tokens/certificate", "has expired"},
		},
		{
			"expired certificate of a key", doctor.TokenConfig{Verifier: hs256, PublicKeys: []string{writeCertificate(t, now.Add(-day))}},
			finding{doctor.Warn, "tokens/certificate", "its key is used nevertheless"},
		},
		{
			"no certificate", doctor.TokenConfig{Verifier: hs256, TLSCert: "no-such-file.pem"},
			finding{doctor.Fail, "tokens/certificate", "no-such-file.pem"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.expect(t, runArea(t, doctor.Tokens(tc.cfg)))
		})
	}
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	answer := `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	configure := func(secret string) doctor.TokenConfig {
		cfg := auth.Config{JWKSURL: server.URL, HS256Secret: []byte(secret), HTTPClient: client, JWKSTimeout: testTimeout}
		return doctor.TokenConfig{Verifier: newVerifier(t, cfg), JWKSURL: server.URL}
	}
	results := runArea(t, doctor.Tokens(configure("")))
	finding{doctor.OK, "tokens/jwks", "fetched"}.expect(t, results)
	finding{doctor.OK, "tokens/keys", "EdDSA"}.expect(t, results)

	insecure := configure("")
	insecure.JWKSURL = "http://keys.example/jwks" // only the text is looked at
	finding{doctor.Warn, "tokens/jwks", "not https"}.expect(t, runArea(t, doctor.Tokens(insecure)))

	server.Close()
	results = runArea(t, doctor.Tokens(configure("")))
	finding{doctor.Fail, "tokens/jwks", "no keys could be fetched"}.expect(t, results)
	finding{doctor.Fail, "tokens/keys", "no key verifies tokens"}.expect(t, results)
	finding{doctor.Warn, "tokens/jwks", "no keys could be fetched"}.expect(t, runArea(t, doctor.Tokens(configure(secret))))
}
