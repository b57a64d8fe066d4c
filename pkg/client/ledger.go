package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// LedgerConfig has the settings of a Ledger. Only Token is required.
type LedgerConfig struct {
	// Token returns the token of a request. It is called for every attempt, so it should return a
	// kept token until shortly before its end. Its context ends with the attempt. StaticToken makes
	// one that always returns the same token.
	Token func(ctx context.Context) (string, error)

	// AttemptTimeout limits one attempt of a call. Defaults to 15 s, since a core answers within
	// 10 s.
	AttemptTimeout time.Duration

	// RetryFor limits the time from the start of a call to the start of its last attempt. Defaults
	// to 60 s. A negative value means that there is only one attempt.
	RetryFor time.Duration

	// HTTPClient makes the requests. Defaults to one with at most 64 connections. Its CheckRedirect
	// is not used: a core never redirects, and the token must not be sent to another server. Its
	// transport should have an IdleConnTimeout of 3 s: the core closes a connection on which nothing
	// was sent for 5 s, and a request at that moment needs another attempt.
	HTTPClient *http.Client
}

const (
	defaultAttemptTimeout = 15 * time.Second
	defaultRetryFor       = time.Minute
	defaultConnections    = 64
)

// Ledger calls the ledger API of a core, or of a load balancer in front of several cores. Its
// methods may be called from several goroutines.
//
// A write has an idempotency key. Every attempt of the call sends the same key, so the operation is
// done at most once, however often the network fails. An attempt is repeated after a lost or missing
// answer and after the statuses 429, 502, 503 and 504, until RetryFor or the context ends. Any other
// answer is final and returned as a *Problem. If no final answer came, the error is a
// *NoAnswerError, which has the key and says whether the operation may have been done.
type Ledger struct {
	base           string
	token          func(ctx context.Context) (string, error)
	attemptTimeout time.Duration
	retryFor       time.Duration
	http           *http.Client
	ownsHTTP       bool // the client was not given
}

// NewLedger returns a client of the core at the URL, such as http://core:8080. It does not connect
// yet.
func NewLedger(coreURL string, cfg LedgerConfig) (*Ledger, error) {
	base, err := parseCoreURL(coreURL)
	if err != nil {
		return nil, err
	}
	if cfg.Token == nil {
		return nil, errors.New("client: LedgerConfig.Token must be set; " +
			"for a token that never changes use client.StaticToken")
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = defaultAttemptTimeout
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = defaultRetryFor
	}
	return &Ledger{
		base:           base,
		token:          cfg.Token,
		attemptTimeout: cfg.AttemptTimeout,
		retryFor:       cfg.RetryFor,
		http:           newHTTPClient(cfg.HTTPClient),
		ownsHTTP:       cfg.HTTPClient == nil,
	}, nil
}

// Close closes idle connections, unless LedgerConfig.HTTPClient was given. Calls that are running are
// not ended.
func (l *Ledger) Close() {
	if l.ownsHTTP {
		l.http.CloseIdleConnections()
	}
}

// parseCoreURL returns the URL without a slash at its end.
func parseCoreURL(coreURL string) (string, error) {
	u, err := url.Parse(coreURL)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("client: the core's URL must be like http://host:8080 or https://host, got %q", coreURL)
	}
	switch u.Scheme {
	case "http", "https":
	case "ws", "wss":
		return "", fmt.Errorf("client: the core's URL must begin with http:// or https://, got %q; "+
			"a ws:// URL is that of a gateway, which Dial takes", coreURL)
	default:
		return "", fmt.Errorf("client: the core's URL must begin with http:// or https://, got %q", coreURL)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("client: the core's URL must not have a user, a query or a fragment; " +
			"LedgerConfig.Token gives the token")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// newHTTPClient returns a copy of the client that follows no redirect.
func newHTTPClient(given *http.Client) *http.Client {
	if given == nil {
		given = &http.Client{Transport: newTransport()}
	}
	c := *given
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// idleConnTimeout is the time after which an unused connection is closed. net/http often dials a
// connection, sends the request on another one that became free, and keeps the new connection for
// later. The core closes a connection on which it got no request for 5 s. A request that is sent at
// that moment gets no answer. So the client must close the connection first.
const idleConnTimeout = 3 * time.Second

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxConnsPerHost:     defaultConnections,
		MaxIdleConnsPerHost: defaultConnections,
		IdleConnTimeout:     idleConnTimeout,
		ForceAttemptHTTP2:   true,
		// A dead HTTP/2 connection must not be used for the retry.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
}
