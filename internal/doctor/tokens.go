package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
)

// TokenConfig describes the tokens that a program accepts, and the one that gateways send to cores.
type TokenConfig struct {
	Verifier      *auth.Verifier
	VerifierError error    // why there is no Verifier
	PublicKeys    []string // files of --jwt-public-key
	JWKSURL       string   // empty: none
	TLSCert       string   // file of --tls-cert; empty: no TLS
	CoreToken     string   // token of the gateways; empty: not known
	Now           func() time.Time
}

// Tokens returns the checks of keys, certificates and of the gateways' token.
func Tokens(cfg TokenConfig) Area {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return Area{name: "tokens", run: func(ctx context.Context, c *collector) {
		t := &tokens{collector: c, cfg: cfg}
		t.checkKeys(ctx)
		t.checkCertificates()
		t.checkCoreToken(ctx)
	}}
}

type tokens struct {
	*collector
	cfg TokenConfig
}

func (t *tokens) checkKeys(ctx context.Context) {
	keys := advice{"give a key that can be used with --jwt-hs256-secret-file, --jwt-public-key or --jwks-url", "http-api.md#authorization"}
	if t.cfg.VerifierError != nil {
		t.fail("keys", keys, "%v", t.cfg.VerifierError)
		return
	}

	published := t.cfg.Verifier.Published()
	err := t.cfg.Verifier.FetchKeys(ctx)
	switch {
	case err != nil && published.Only:
		t.fail("jwks", advice{"the JWKS URL must answer with the public keys", "gateway.md#keys-from-a-url"}, "%v", err)
	case err != nil:
		t.warn("jwks", advice{"the JWKS URL must answer with the public keys", "gateway.md#keys-from-a-url"}, "%v", err)
	case published.Configured && httpserver.IsInsecureURL(t.cfg.JWKSURL):
		t.warn("jwks", advice{"use https", "gateway.md#keys-from-a-url"}, "the JWKS URL is not https, so anybody on the way can choose the keys")
	case published.Configured:
		t.ok("jwks", "the keys were fetched")
	}

	algorithms := t.cfg.Verifier.KnownAlgorithms()
	if len(algorithms) == 0 {
		t.fail("keys", keys, "no key verifies tokens")
		return
	}
	t.ok("keys", "tokens are verified with %s", strings.Join(algorithms, ", "))
}

// expirySoon is how long before its end a certificate or a token is worth a warning.
const expirySoon = 14 * 24 * time.Hour

// checkCertificates checks how long the certificates among the files are valid. A public key alone has
// no end, and neither has the key of an expired certificate.
func (t *tokens) checkCertificates() {
	renew := advice{"renew the certificate", "gateway.md#tls"}
	for _, file := range append(slices.Clone(t.cfg.PublicKeys), t.cfg.TLSCert) {
		if file == "" {
			continue
		}
		certificate, err := readCertificate(file)
		if err != nil {
			t.fail("certificate", advice{"the file must be PEM that this user may read", "gateway.md#tls"}, "%s: %v", file, err)
			continue
		}
		if certificate == nil {
			continue
		}
		left := certificate.NotAfter.Sub(t.cfg.Now())
		end := certificate.NotAfter.UTC().Format(time.DateOnly)
		switch {
		case left <= 0 && file == t.cfg.TLSCert:
			t.fail("certificate", renew, "%s has expired on %s", file, end)
		case left <= 0:
			t.warn("certificate", renew, "%s has expired on %s; its key is used nevertheless", file, end)
		case left < expirySoon:
			t.warn("certificate", renew, "%s expires on %s", file, end)
		default:
			t.ok("certificate", "%s is valid until %s", file, end)
		}
	}
}

// readCertificate returns the first certificate of a PEM file, or nil if it has a public key instead.
func readCertificate(file string) (*x509.Certificate, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("must be PEM")
	}
	if block.Type != "CERTIFICATE" {
		return nil, nil //nolint:nilnil // a public key has no certificate
	}
	return x509.ParseCertificate(block.Bytes)
}

// checkCoreToken checks the token with which gateways call the core.
func (t *tokens) checkCoreToken(ctx context.Context) {
	renew := advice{"make another one: core token --sub gateway --scope wallet:read --ttl 8760h", "gateway.md"}
	switch {
	case t.cfg.CoreToken == "":
		t.skip("core-token", "the token of the gateways was not given (--core-token-file)")
		return
	case t.cfg.Verifier == nil:
		t.skip("core-token", "there is no key to verify it with")
		return
	}

	claims, err := t.cfg.Verifier.Verify(ctx, strings.TrimSpace(t.cfg.CoreToken))
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		t.skip("core-token", "%s", auth.Reason(err))
	case err != nil:
		t.fail("core-token", renew, "%s", auth.Reason(err))
	case !claims.Has(auth.ScopeRead):
		t.fail("core-token", renew, "the token of %s must have the scope wallet:read; it has %s", claims.Subject, listScopes(claims))
	default:
		t.reportExpiry(claims, renew)
	}
}

func (t *tokens) reportExpiry(claims *auth.Claims, renew advice) {
	end := claims.ExpiresAt.UTC().Format(time.RFC3339)
	if claims.ExpiresAt.Sub(t.cfg.Now()) < expirySoon {
		t.warn("core-token", renew, "the token of %s expires on %s", claims.Subject, end)
		return
	}
	t.ok("core-token", "sub %s, scopes %s, valid until %s", claims.Subject, listScopes(claims), end)
}

func listScopes(claims *auth.Claims) string {
	if len(claims.Scopes) == 0 {
		return "none"
	}
	return strings.Join(claims.Scopes, " ")
}
