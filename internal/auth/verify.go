package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	Logger      *slog.Logger     // of the JWKS URL's outages. Defaults to slog.Default().
}

// A Verifier checks tokens. It may be used by several goroutines.
type Verifier struct {
	algorithms []string
	static     map[string][]jwt.VerificationKey // by algorithm
	jwks       *jwks                            // nil: none configured
	validator  *jwt.Validator
	headers    headers
	benches    sync.Pool // of *bench
}

// bench is what checking a token needs for a moment.
type bench struct {
	mac   hash.Hash // keyed with the shared secret; nil: there is none
	sum   [sha256.Size]byte
	bytes []byte
}

// NewVerifier checks the configuration. It fetches nothing yet.
func NewVerifier(cfg Config) (*Verifier, error) {
	if cfg.Leeway == 0 {
		cfg.Leeway = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	v := &Verifier{static: map[string][]jwt.VerificationKey{}}
	secret := slices.Clone(cfg.HS256Secret)
	v.benches.New = func() any {
		b := new(bench)
		if len(secret) > 0 {
			b.mac = hmac.New(sha256.New, secret)
		}
		return b
	}
	if len(cfg.HS256Secret) > 0 {
		if len(cfg.HS256Secret) < minSecretBytes {
			return nil, fmt.Errorf("the HS256 secret has %d bytes, at least %d are needed", len(cfg.HS256Secret), minSecretBytes)
		}
		v.algorithms = append(v.algorithms, algHS256)
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
		if !slices.Contains(v.algorithms, alg) {
			v.algorithms = append(v.algorithms, alg)
		}
	}
	if cfg.JWKSURL != "" {
		if u, err := url.Parse(cfg.JWKSURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, errors.New("the JWKS URL is not an http or https URL")
		}
		v.jwks = newJWKS(cfg)
		// Which keys will be published is not known yet; all asymmetric algorithms
		// may be, and each is still bound to a key of its own type.
		v.algorithms = []string{algRS256, algES256, algEdDSA}
		if len(cfg.HS256Secret) > 0 {
			v.algorithms = append(v.algorithms, algHS256)
		}
	}
	if len(v.algorithms) == 0 {
		return nil, errors.New("no key to verify tokens with: give an HS256 secret, a public key or a JWKS URL")
	}
	options := []jwt.ParserOption{
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), // not in the future, when it is there
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(cfg.Now),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.validator = jwt.NewValidator(options...)
	return v, nil
}

// Run fetches the keys of the JWKS URL until ctx ends: at once, and when they become
// old. Without a URL it waits.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks != nil {
		v.jwks.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// Published is how it stands about the keys of the JWKS URL.
type Published struct {
	Configured bool          // there is a URL
	Only       bool          // no other key is configured
	Missing    error         // why no key could be fetched so far; nil: some were
	Age        time.Duration // since keys were fetched; 0: never
	Failures   int           // fetches that failed
}

// Published tells how it stands about the keys of the JWKS URL.
func (v *Verifier) Published() Published {
	j := v.jwks
	if j == nil {
		return Published{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	p := Published{Configured: true, Only: len(v.static) == 0 && !slices.Contains(v.algorithms, algHS256), Failures: j.failures}
	switch {
	case !j.fetched.IsZero():
		p.Age = j.now().Sub(j.fetched)
	case j.err != nil:
		p.Missing = fmt.Errorf("no keys of tokens could be fetched yet: %w", j.err)
	default:
		p.Missing = errors.New("no keys of tokens have been fetched yet")
	}
	return p
}

// Verify checks a compact JWT and returns what it says. Its error is an ErrInvalid,
// or ErrUnavailable. It may wait for a fetch of the JWKS, never longer than JWKSTimeout.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	switch {
	case raw == "":
		return nil, invalid("the token is missing")
	case len(raw) > MaxBytes:
		return nil, invalid("the token is longer than 8 KiB")
	}
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first == last || strings.IndexByte(raw[first+1:last], '.') >= 0 {
		return nil, errMalformed
	}
	b, _ := v.benches.Get().(*bench)
	defer v.benches.Put(b)
	if !b.decode(raw[last+1:]) {
		return nil, errMalformed
	}
	if err := v.checkSignature(ctx, raw[:first], raw[:last], b); err != nil {
		return nil, err
	}
	if !b.decode(raw[first+1 : last]) {
		return nil, errMalformed
	}
	w, err := readClaims(b.bytes)
	if err != nil {
		return nil, errMalformed
	}
	if !w.plausible() {
		return nil, invalid("the token's exp, nbf or iat is beyond the year 9999")
	}
	if err := v.validator.Validate(w); err != nil {
		return nil, refuse(err)
	}
	return w.claims()
}

// decode puts what a segment encodes into bytes.
func (b *bench) decode(segment string) bool {
	var err error
	b.bytes, err = base64.RawURLEncoding.AppendDecode(b.bytes[:0], []byte(segment))
	return err == nil
}

// checkMAC tells whether bytes is the HS256 signature of the text.
func (b *bench) checkMAC(signed string) bool {
	b.mac.Reset()
	_, _ = io.WriteString(b.mac, signed) // never fails
	return hmac.Equal(b.bytes, b.mac.Sum(b.sum[:0]))
}

// checkSignature looks for a key that verifies the token, whose signature is in the
// bench. Keys are chosen by the header's algorithm, so that none is ever used for another.
func (v *Verifier) checkSignature(ctx context.Context, segment, signed string, b *bench) error {
	h, known := v.headers.find(segment)
	if !known {
		var err error
		if h, err = readHeader(segment); err != nil {
			return errMalformed
		}
	}
	if !slices.Contains(v.algorithms, h.alg) {
		return errSignature
	}
	if h.alg == algHS256 {
		if !b.checkMAC(signed) {
			return errSignature
		}
	} else {
		keys := slices.Clone(v.static[h.alg])
		if v.jwks != nil {
			keys = append(keys, v.jwks.lookup(ctx, h.alg, h.kid)...)
		}
		method := jwt.GetSigningMethod(h.alg)
		verifies := func(key jwt.VerificationKey) bool { return method.Verify(signed, b.bytes, key) == nil }
		switch {
		case slices.ContainsFunc(keys, verifies):
		case v.Published().Missing != nil:
			return ErrUnavailable
		case len(keys) == 0:
			return invalid("no known key verifies this token")
		default:
			return errSignature
		}
	}
	if !known {
		v.headers.keep(segment, h)
	}
	return nil
}

var (
	errMalformed = invalid("the token is malformed")
	errSignature = invalid("the token's signature or algorithm is not accepted")
)

// refuse turns the validator's errors, some of which quote the token, into reasons
// of our own.
func refuse(err error) error {
	switch {
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
	}
	return invalid("the token is not accepted")
}

// FromHeader takes the token out of an Authorization header. It is empty when
// there is none of the scheme Bearer.
func FromHeader(h http.Header) string { return Bearer(h.Get("Authorization")) }

// Bearer takes the token out of the value of an Authorization header.
func Bearer(authorization string) string {
	scheme, raw, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}
