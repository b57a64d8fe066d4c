package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxBytes is the longest token that is looked at. It keeps a hostile client from
// buying base64 and JSON decoding by the megabyte.
const MaxBytes = 8 << 10

// minSecretBytes is what RFC 7518 section 3.2 asks of an HS256 key.
const minSecretBytes = 32

// The algorithms, as tokens name them.
const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// Config says which tokens are good. At least one source of keys is required.
type Config struct {
	HS256Secret []byte   // shared secret, at least 32 bytes; empty: HS256 is refused
	PublicKeys  [][]byte // PEM of RSA (2048 bits or more), ECDSA P-256 or Ed25519 public keys or certificates
	JWKSURL     string   // where further public keys are published; empty: nowhere

	Issuer   string // required iss; empty: any
	Audience string // required among aud; empty: any

	Leeway time.Duration // Defaults to 30 s of clock skew, for exp, nbf and iat.

	JWKSRefresh time.Duration    // Defaults to 15 min: how old the fetched keys may become.
	JWKSRetry   time.Duration    // Defaults to 10 s: least time between two fetches, whatever clients send.
	JWKSTimeout time.Duration    // Defaults to 5 s for one fetch.
	HTTPClient  *http.Client     // Defaults to http.DefaultClient.
	Now         func() time.Time // Defaults to time.Now.
}

// A Verifier checks tokens. It may be used by several goroutines.
type Verifier struct {
	secret []byte
	static map[string][]jwt.VerificationKey // by algorithm
	jwks   *jwks                            // nil: none configured
	parser *jwt.Parser
}

// NewVerifier checks the configuration. It fetches nothing yet.
func NewVerifier(cfg Config) (*Verifier, error) {
	if cfg.Leeway == 0 {
		cfg.Leeway = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Verifier{static: map[string][]jwt.VerificationKey{}}
	var algorithms []string
	if len(cfg.HS256Secret) > 0 {
		if len(cfg.HS256Secret) < minSecretBytes {
			return nil, fmt.Errorf("the HS256 secret has %d bytes, at least %d are needed", len(cfg.HS256Secret), minSecretBytes)
		}
		v.secret = slices.Clone(cfg.HS256Secret)
		algorithms = append(algorithms, algHS256)
	}
	for i, pem := range cfg.PublicKeys {
		key, err := parsePublicKey(pem)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", i+1, err)
		}
		alg, err := algorithmOf(key)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", i+1, err)
		}
		v.static[alg] = append(v.static[alg], key)
		if !slices.Contains(algorithms, alg) {
			algorithms = append(algorithms, alg)
		}
	}
	if cfg.JWKSURL != "" {
		if u, err := url.Parse(cfg.JWKSURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, errors.New("the JWKS URL is not an http or https URL")
		}
		v.jwks = newJWKS(cfg)
		// Which keys will be published is not known yet; all asymmetric algorithms
		// may be, and each is still bound to a key of its own type.
		algorithms = []string{algRS256, algES256, algEdDSA}
		if v.secret != nil {
			algorithms = append(algorithms, algHS256)
		}
	}
	if len(algorithms) == 0 {
		return nil, errors.New("no key to verify tokens with: give an HS256 secret, a public key or a JWKS URL")
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(cfg.Now),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// Verify checks a compact JWT and returns what it says. Its error is an
// ErrInvalid. It may wait for a fetch of the JWKS, never longer than JWKSTimeout.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	switch {
	case raw == "":
		return nil, invalid("the token is missing")
	case len(raw) > MaxBytes:
		return nil, invalid("the token is longer than 8 KiB")
	}
	var w wireClaims
	_, err := v.parser.ParseWithClaims(raw, &w, func(t *jwt.Token) (any, error) { return v.keys(ctx, t) })
	if err != nil {
		return nil, refuse(err)
	}
	return w.claims()
}

// keys gives the candidates for a token whose algorithm the parser has allowed.
// Keys are chosen by that algorithm, so that none is ever used for another.
func (v *Verifier) keys(ctx context.Context, t *jwt.Token) (any, error) {
	alg, _ := t.Header["alg"].(string)
	if alg == algHS256 {
		return v.secret, nil
	}
	set := jwt.VerificationKeySet{Keys: slices.Clone(v.static[alg])}
	if v.jwks != nil {
		kid, _ := t.Header["kid"].(string)
		set.Keys = append(set.Keys, v.jwks.lookup(ctx, alg, kid)...)
	}
	if len(set.Keys) == 0 {
		return nil, errNoKey
	}
	return set, nil
}

var errNoKey = errors.New("no key for this token")

// refuse turns the library's errors, some of which quote the token, into reasons
// of our own.
func refuse(err error) error {
	switch {
	case errors.Is(err, errNoKey):
		return invalid("no known key verifies this token")
	case errors.Is(err, jwt.ErrTokenExpired):
		return invalid("the token has expired")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("the token lacks a required claim (exp is required, iss and aud where configured)")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return invalid("the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return invalid("the token is from another issuer")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("the token is for another audience")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("the token's signature or algorithm is not accepted")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("the token is malformed")
	}
	return invalid("the token is not accepted")
}

// FromHeader takes the token out of an Authorization header. It is empty when
// there is none of the scheme Bearer.
func FromHeader(h http.Header) string {
	scheme, raw, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}
