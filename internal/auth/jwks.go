package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
)

// maxJWKSBytes bounds the answer of the JWKS URL.
const maxJWKSBytes = 1 << 20

// warnEvery is how often an outage of the JWKS URL is logged while it lasts.
const warnEvery = time.Minute

// jwks keeps the keys that a URL publishes. Run fetches them in time; besides, the
// verification that finds the keys too old, or a key missing, fetches them, while
// all others go on with what is there.
type jwks struct {
	url            string
	client         *http.Client
	refresh, retry time.Duration
	timeout        time.Duration
	now            func() time.Time
	log            *slog.Logger

	fetching sync.Mutex // held by the one that fetches

	mu       sync.Mutex // protects what follows
	keys     []publishedKey
	fetched  time.Time // when keys were fetched; zero: never
	tried    time.Time // when a fetch last began
	err      error     // of the newest fetch
	failures int       // fetches so far that failed
	warned   time.Time // when that was logged last
}

type publishedKey struct {
	kid, alg string
	key      jwt.VerificationKey
}

func newJWKS(cfg Config) *jwks {
	j := &jwks{
		url: cfg.JWKSURL, client: cfg.HTTPClient, now: cfg.Now, log: cfg.Logger,
		refresh: cfg.JWKSRefresh, retry: cfg.JWKSRetry, timeout: cfg.JWKSTimeout,
	}
	if j.client == nil {
		j.client = http.DefaultClient
	}
	if j.refresh == 0 {
		j.refresh = 15 * time.Minute
	}
	if j.retry == 0 {
		j.retry = 10 * time.Second
	}
	if j.timeout == 0 {
		j.timeout = 5 * time.Second
	}
	return j
}

// lookup gives the keys for an algorithm: those that kid names, or all when the
// token names none. A fetch that fails leaves the known keys as they are.
func (j *jwks) lookup(ctx context.Context, alg, kid string) []jwt.VerificationKey {
	found, fresh, never := j.known(alg, kid)
	switch {
	case len(found) > 0 && fresh:
		return found
	case len(found) > 0:
		// Old keys are good enough for this token; one caller renews them.
		if j.fetching.TryLock() {
			j.fetch(context.WithoutCancel(ctx)) // a client that goes away must not spoil it for the others
			j.fetching.Unlock()
		}
	default:
		// Nothing to verify with: wait for whoever fetches already. What is
		// fetched at this moment may be all that is missing.
		if never || !fresh || kid != "" {
			j.fetching.Lock()
			j.fetch(context.WithoutCancel(ctx))
			j.fetching.Unlock()
		}
	}
	found, _, _ = j.known(alg, kid)
	return found
}

// run fetches keys until ctx ends, whenever what is there is too old.
func (j *jwks) run(ctx context.Context) {
	for ctx.Err() == nil {
		if _, fresh, _ := j.known("", ""); !fresh {
			j.fetching.Lock()
			j.fetch(ctx)
			j.fetching.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(j.retry):
		}
	}
}

func (j *jwks) known(alg, kid string) (found []jwt.VerificationKey, fresh, never bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range j.keys {
		if k.alg == alg && (kid == "" || k.kid == "" || k.kid == kid) {
			found = append(found, k.key)
		}
	}
	return found, j.now().Sub(j.fetched) < j.refresh, j.fetched.IsZero()
}

// fetch renews the keys unless somebody tried within the retry interval. The
// caller holds fetching.
func (j *jwks) fetch(ctx context.Context) {
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
	keys, err := j.get(timed)
	if ctx.Err() != nil {
		return // told to stop
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("the answer has no key that can be used")
	}
	j.fetchedKeys(now, keys, err)
}

// fetchedKeys notes how a fetch ended. After an outage, or an empty answer, what is
// known stays.
func (j *jwks) fetchedKeys(now time.Time, keys []publishedKey, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := j.err
	j.err = err
	switch {
	case err == nil:
		j.keys, j.fetched = keys, now
		if before != nil {
			j.log.Info("the keys of tokens can be fetched again", "keys", len(keys))
		}
	default:
		j.failures++
		if before == nil || now.Sub(j.warned) >= warnEvery {
			j.warned = now
			j.log.Warn("the keys of tokens cannot be fetched", "err", err, "known", len(j.keys))
		}
	}
}

func (j *jwks) get(ctx context.Context) ([]publishedKey, error) {
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

// purpose is what a published key says that it is for (RFC 7517 section 4).
type purpose struct {
	Kid string   `json:"kid"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	Ops []string `json:"key_ops"`
}

// allows tells whether the key may verify signatures of the algorithm. What is absent
// forbids nothing.
func (p *purpose) allows(alg string) bool {
	return (p.Use == "" || p.Use == "sig") && (p.Alg == "" || p.Alg == alg) && (p.Ops == nil || slices.Contains(p.Ops, "verify"))
}

// parseJWKS reads a key set key by key, so that one key of a kind that we do not
// know costs us only that key. Symmetric keys are never taken from a URL.
func parseJWKS(ctx context.Context, body []byte) ([]publishedKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	var keys []publishedKey
	for _, raw := range set.Keys {
		var about purpose
		if jsonv2.Unmarshal(raw, &about) != nil {
			continue
		}
		one, err := json.Marshal(map[string][]json.RawMessage{"keys": {raw}})
		if err != nil {
			continue
		}
		parsed, err := keyfunc.NewJWKSetJSON(one)
		if err != nil {
			continue
		}
		all, err := parsed.VerificationKeySet(ctx)
		if err != nil {
			continue
		}
		for _, key := range all.Keys {
			if alg, err := algorithmOf(key); err == nil && about.allows(alg) {
				keys = append(keys, publishedKey{kid: about.Kid, alg: alg, key: key})
			}
		}
	}
	return keys, nil
}
