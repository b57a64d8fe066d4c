package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxJWKSBytes bounds the answer of the JWKS URL.
const maxJWKSBytes = 1 << 20

// warnEvery is how often an outage of the JWKS URL is logged while it lasts.
const warnEvery = time.Minute

// jwks keeps the keys that a URL publishes. Run fetches them again before they are old. A
// verification that finds them old, or that lacks a key, fetches them too. Meanwhile all other
// verifications use the keys that are known.
type jwks struct {
	url     string
	client  *http.Client
	refresh time.Duration
	retry   time.Duration
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger

	fetching sync.Mutex // held during a fetch

	mu       sync.Mutex // protects the fields below
	keys     []publishedKey
	number   uint64    // number of fetches that brought keys
	fetched  time.Time // when keys were fetched; zero: never
	tried    time.Time // when a fetch last began
	err      error     // error of the newest fetch
	failures int       // number of fetches that failed
	warned   time.Time // when a failure was last logged
}

type publishedKey struct {
	kid string
	alg string
	key jwt.VerificationKey
}

func newJWKS(cfg Config) *jwks {
	return &jwks{
		url:     cfg.JWKSURL,
		client:  refuseInsecureRedirects(cfg.HTTPClient),
		refresh: cfg.JWKSRefresh,
		retry:   cfg.JWKSRetry,
		timeout: cfg.JWKSTimeout,
		now:     cfg.Now,
		log:     cfg.Logger,
	}
}

// maxRedirects is the number of redirects that a fetch follows.
const maxRedirects = 5

// refuseInsecureRedirects returns a copy of the client that follows redirects only to https. Else a
// redirect to http would let anybody on the way choose the keys.
func refuseInsecureRedirects(client *http.Client) *http.Client {
	secure := *client
	secure.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		switch {
		case next.URL.Scheme != "https":
			return errors.New("the JWKS URL must redirect only to https")
		case len(via) > maxRedirects:
			return fmt.Errorf("the JWKS URL must redirect at most %d times", maxRedirects)
		}
		return nil
	}
	return &secure
}

// keysVersion identifies a set of published keys.
type keysVersion struct {
	number uint64 // counts the fetches that brought keys
	fresh  bool   // the keys are not so old that they must be fetched again
}

// currentVersion returns the version of the published keys. Without a URL it never changes.
func (j *jwks) currentVersion() keysVersion {
	if j == nil {
		return keysVersion{fresh: true}
	}
	j.mu.Lock()
	defer j.mu.Unlock()

	return keysVersion{number: j.number, fresh: j.isFresh()}
}

// isFresh reports whether the keys need not be fetched again. The caller holds mu.
func (j *jwks) isFresh() bool {
	return j.now().Sub(j.fetched) < j.refresh
}

// Published is the state of the keys of the JWKS URL.
type Published struct {
	Configured bool          // a URL is configured
	Only       bool          // no other key is configured
	Missing    error         // why no key could be fetched so far; nil if keys were fetched
	Age        time.Duration // time since keys were fetched; 0: never
	Failures   int           // number of fetches that failed
}

// Published returns the state of the keys of the JWKS URL.
func (v *Verifier) Published() Published {
	j := v.jwks
	if j == nil {
		return Published{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()

	p := Published{
		Configured: true,
		Only:       len(v.static) == 0,
		Failures:   j.failures,
	}
	switch {
	case !j.fetched.IsZero():
		p.Age = j.now().Sub(j.fetched)
	case j.err != nil:
		p.Missing = fmt.Errorf("no keys could be fetched from the JWKS URL yet: %w", j.err)
	default:
		p.Missing = errors.New("no keys have been fetched from the JWKS URL yet")
	}
	return p
}

// findKeys returns the keys for an algorithm that fit a token: those with its kid and those without
// kid, or all of them when the token has no kid. It fetches the keys if it knows none, or if they
// are old. A fetch that fails leaves the known keys as they are.
func (j *jwks) findKeys(ctx context.Context, alg, kid string) []jwt.VerificationKey {
	found, fresh := j.knownKeys(alg, kid)
	switch {
	case len(found) > 0 && fresh:
		return found
	case len(found) > 0:
		// Old keys are good enough for this token; one caller renews them.
		if j.fetching.TryLock() {
			j.fetchKeys(context.WithoutCancel(ctx)) // a client that disconnects must not cancel it for others
			j.fetching.Unlock()
		}
	default:
		// There is no key to verify with. If somebody fetches already, wait: the missing key may
		// be in that answer.
		j.fetchLocked(context.WithoutCancel(ctx))
	}
	found, _ = j.knownKeys(alg, kid)
	return found
}

// fetchNewKeys fetches the keys for a token that no known key verifies. It reports whether the keys
// have been fetched again since the given version, so that the token must be verified again. If a
// key has the token's kid, it does nothing: the signature is wrong then.
func (j *jwks) fetchNewKeys(ctx context.Context, alg, kid string, since keysVersion) bool {
	if j == nil || j.hasKey(alg, kid) {
		return false
	}

	j.fetchLocked(context.WithoutCancel(ctx))
	return j.currentVersion().number != since.number
}

// hasKey reports whether a known key has the token's kid.
func (j *jwks) hasKey(alg, kid string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()

	return kid != "" && slices.ContainsFunc(j.keys, func(k publishedKey) bool {
		return k.alg == alg && k.kid == kid
	})
}

// refreshKeys fetches the keys whenever they are old, until ctx ends.
func (j *jwks) refreshKeys(ctx context.Context) {
	for ctx.Err() == nil {
		if !j.currentVersion().fresh {
			j.fetchLocked(ctx)
		}

		select {
		case <-ctx.Done():
		case <-time.After(j.retry):
		}
	}
}

// fetchLocked waits for a running fetch and calls fetchKeys.
func (j *jwks) fetchLocked(ctx context.Context) {
	j.fetching.Lock()
	defer j.fetching.Unlock()

	j.fetchKeys(ctx)
}

// knownKeys returns the known keys for findKeys. It reports whether the keys need not be fetched
// again.
func (j *jwks) knownKeys(alg, kid string) (found []jwt.VerificationKey, fresh bool) {
	j.mu.Lock()
	defer j.mu.Unlock()

	for _, k := range j.keys {
		if k.alg == alg && (kid == "" || k.kid == "" || k.kid == kid) {
			found = append(found, k.key)
		}
	}
	return found, j.isFresh()
}

// fetchKeys fetches the keys, unless somebody tried within the retry interval. The caller holds
// fetching.
func (j *jwks) fetchKeys(ctx context.Context) {
	j.mu.Lock()
	now := j.now()
	soon := !j.tried.IsZero() && now.Sub(j.tried) < j.retry
	if !soon {
		j.tried = now
	}
	j.mu.Unlock()
	if soon {
		return
	}

	timed, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	keys, err := j.downloadKeys(timed)
	if ctx.Err() != nil {
		return // the caller was told to stop
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("the answer must have a key that can be used")
	}
	j.recordFetch(now, keys, err)
}

// recordFetch records how a fetch ended. A fetch that failed, or that brought no key, leaves the
// known keys as they are.
func (j *jwks) recordFetch(now time.Time, keys []publishedKey, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()

	before := j.err
	j.err = err
	switch {
	case err == nil:
		j.keys = keys
		j.fetched = now
		j.number++
		if before != nil {
			j.log.Info("JWKS fetch recovered", "keys", len(keys))
		}
	default:
		j.failures++
		if before == nil || now.Sub(j.warned) >= warnEvery {
			j.warned = now
			j.log.Warn("JWKS fetch failed", "error", err, "keys", len(j.keys))
		}
	}
}

func (j *jwks) downloadKeys(ctx context.Context) ([]publishedKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := j.client.Do(req)
	var about *url.Error
	if errors.As(err, &about) {
		return nil, about.Err // without the URL, which may hold a password
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()

	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes))
	if err != nil {
		return nil, err
	}
	return parseJWKS(ctx, body)
}
