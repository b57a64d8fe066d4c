package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxBytes is the longest token that Verify accepts. The limit keeps a hostile client from making
// the process decode megabytes of base64 and JSON.
const MaxBytes = 8 << 10

// The algorithms, as tokens name them.
const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// Config chooses the tokens that are accepted. At least one source of keys is required.
type Config struct {
	HS256Secret []byte   // shared secret, at least 32 bytes; empty: HS256 is refused
	PublicKeys  [][]byte // PEM of RSA (2048 bits or more), ECDSA P-256 or Ed25519 public keys or certificates
	JWKSURL     string   // URL of further public keys; empty: none

	Issuer   string // required iss; empty: any
	Audience string // required among aud; empty: any

	Leeway time.Duration // allowed clock skew for exp, nbf and iat. Defaults to 30 s.

	// CachedTokens is the number of verified tokens that are remembered, so that a token that is
	// used again is not parsed and verified again. Defaults to 1,000; negative: none.
	CachedTokens int

	JWKSRefresh time.Duration    // age at which fetched keys are fetched again. Defaults to 15 min.
	JWKSRetry   time.Duration    // least time between two fetches, whatever clients send. Defaults to 10 s.
	JWKSTimeout time.Duration    // time limit of one fetch. Defaults to 5 s.
	HTTPClient  *http.Client     // Defaults to http.DefaultClient.
	Now         func() time.Time // Defaults to time.Now.
	Logger      *slog.Logger     // for outages of the JWKS URL. Defaults to slog.Default().
}

func (c Config) withDefaults() Config {
	c.Leeway = cmp.Or(c.Leeway, 30*time.Second)
	c.CachedTokens = cmp.Or(c.CachedTokens, 1_000)
	c.JWKSRefresh = cmp.Or(c.JWKSRefresh, 15*time.Minute)
	c.JWKSRetry = cmp.Or(c.JWKSRetry, 10*time.Second)
	c.JWKSTimeout = cmp.Or(c.JWKSTimeout, 5*time.Second)
	if c.HTTPClient == nil {
		c.HTTPClient = http.DefaultClient
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// A Verifier checks tokens. Its methods may be called by several goroutines.
type Verifier struct {
	algorithms []string
	static     map[string][]jwt.VerificationKey // configured keys by algorithm
	jwks       *jwks                            // nil: no URL is configured
	parser     *jwt.Parser
	cache      *tokenCache // nil: none
	leeway     time.Duration
	now        func() time.Time
}

// NewVerifier validates the configuration. It fetches nothing yet.
func NewVerifier(cfg Config) (*Verifier, error) {
	cfg = cfg.withDefaults()
	v := &Verifier{
		static: map[string][]jwt.VerificationKey{},
		leeway: cfg.Leeway,
		now:    cfg.Now,
	}
	err := v.addSecret(cfg.HS256Secret)
	if err != nil {
		return nil, err
	}
	for i, pem := range cfg.PublicKeys {
		err = v.addPublicKey(pem)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", i+1, err)
		}
	}
	if cfg.JWKSURL != "" {
		err = v.addJWKS(cfg)
		if err != nil {
			return nil, err
		}
	}
	if len(v.algorithms) == 0 {
		return nil, errors.New("a key to verify tokens is required: an HS256 secret, a public key or a JWKS URL")
	}

	v.parser = jwt.NewParser(v.parserOptions(cfg)...)
	if cfg.CachedTokens > 0 {
		v.cache = newTokenCache(cfg.CachedTokens)
	}
	return v, nil
}

// parserOptions returns the rules for a token, except those for its form and its key.
func (v *Verifier) parserOptions(cfg Config) []jwt.ParserOption {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(v.algorithms),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), // a token from the future is refused
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(cfg.Now),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return options
}

// Run fetches the keys of the JWKS URL at once and whenever they are old, until ctx ends. Without
// a URL it only waits.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks != nil {
		v.jwks.refreshKeys(ctx)
	}
	<-ctx.Done()
	return nil
}

// Verify checks a compact JWT and returns its claims, which the caller must not change. The error
// is an ErrInvalid, or ErrUnavailable. Verify may wait for a fetch of the JWKS, for at most
// JWKSTimeout.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	switch {
	case raw == "":
		return nil, newRefusal("the token is missing")
	case len(raw) > MaxBytes:
		return nil, newRefusal("the token must be at most 8 KiB long")
	}

	if v.cache == nil {
		return v.parseToken(ctx, raw)
	}
	return v.verifyCached(ctx, raw)
}

// verifyCached is Verify with the cache. A remembered token that has expired is parsed again, and
// refused there.
func (v *Verifier) verifyCached(ctx context.Context, raw string) (*Claims, error) {
	id := sha256.Sum256([]byte(raw))
	keys := v.jwks.currentVersion()
	known := v.cache.findClaims(id, keys)
	if known != nil && !v.hasExpired(known) {
		return known, nil
	}

	claims, err := v.parseToken(ctx, raw)
	if err == nil {
		v.cache.addToken(id, &verifiedToken{claims: claims, keys: keys})
	}
	return claims, err
}

func (v *Verifier) hasExpired(claims *Claims) bool {
	return !v.now().Before(claims.ExpiresAt.Add(v.leeway))
}

// parseToken checks the token's form, signature and claims.
func (v *Verifier) parseToken(ctx context.Context, raw string) (*Claims, error) {
	err := validateForm(raw)
	if err != nil {
		return nil, err
	}

	keys := v.jwks.currentVersion()
	claims, token, err := v.parseSigned(ctx, raw)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) && v.fetchNewKeys(ctx, token, keys) {
		claims, token, err = v.parseSigned(ctx, raw)
	}
	if err != nil {
		return nil, v.refuseToken(token, err)
	}
	return claims.toClaims()
}

// parseSigned checks the token's signature and claims. The token is not nil if its signature is not
// valid.
func (v *Verifier) parseSigned(ctx context.Context, raw string) (*tokenClaims, *jwt.Token, error) {
	claims := new(tokenClaims)
	token, err := v.parser.ParseWithClaims(raw, claims, func(token *jwt.Token) (any, error) {
		return v.verificationKeys(ctx, token)
	})
	return claims, token, err
}

// fetchNewKeys fetches the published keys if a new one may verify the token. It reports whether the
// token must be verified again.
func (v *Verifier) fetchNewKeys(ctx context.Context, token *jwt.Token, since keysVersion) bool {
	alg := token.Method.Alg()
	return alg != algHS256 && v.jwks.fetchNewKeys(ctx, alg, keyID(token), since)
}

// keyID returns the kid of the token's header, or "".
func keyID(token *jwt.Token) string {
	kid, _ := token.Header["kid"].(string)
	return kid
}

// refuseToken turns the parser's errors, some of which quote the token, into our own.
func (v *Verifier) refuseToken(token *jwt.Token, err error) error {
	var ours refusal
	switch {
	case errors.Is(err, ErrUnavailable):
		return ErrUnavailable
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, jwt.ErrTokenMalformed):
		return errMalformed
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return refuseClaims(err)
	case v.mayVerifyLater(token):
		return ErrUnavailable
	}
	return errSignature
}

// mayVerifyLater reports whether a key that could not be fetched yet may verify the token.
func (v *Verifier) mayVerifyLater(token *jwt.Token) bool {
	if token == nil || token.Method == nil || v.Published().Missing == nil {
		return false
	}
	alg := token.Method.Alg()
	return alg != algHS256 && slices.Contains(v.algorithms, alg)
}

var (
	errMalformed = newRefusal("the token must be a well-formed JWT")
	errSignature = newRefusal("the token's signature or algorithm is not accepted")
)

// refuseClaims turns the validator's errors, some of which quote the token, into our own.
func refuseClaims(err error) error {
	var ours refusal
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, jwt.ErrTokenExpired):
		return newRefusal("the token has expired")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return newRefusal("the token lacks a required claim (exp is required, iss and aud where configured)")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return newRefusal("the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return newRefusal("the token is from another issuer")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return newRefusal("the token is for another audience")
	}
	return newRefusal("the token is not accepted")
}

// FromHeader returns the token of an Authorization header, or "" when the header has none of the
// scheme Bearer.
func FromHeader(h http.Header) string {
	return Bearer(h.Get("Authorization"))
}

// Bearer returns the token of an Authorization header's value.
func Bearer(authorization string) string {
	scheme, raw, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}

// verificationKeys returns the keys that may have signed the token. They are chosen by the
// header's algorithm, so that no key is ever used with another one.
func (v *Verifier) verificationKeys(ctx context.Context, token *jwt.Token) (any, error) {
	alg := token.Method.Alg()
	keys := slices.Clone(v.static[alg])
	if v.jwks != nil && alg != algHS256 {
		keys = append(keys, v.jwks.findKeys(ctx, alg, keyID(token))...)
	}

	switch {
	case len(keys) > 0:
		return jwt.VerificationKeySet{Keys: keys}, nil
	case v.mayVerifyLater(token):
		return nil, ErrUnavailable
	}
	return nil, newRefusal("no known key verifies this token")
}
