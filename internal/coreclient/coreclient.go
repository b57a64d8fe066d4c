// Package coreclient is the gateway's HTTP client of the core. It reads events that are no longer
// in the gateway's memory or in the streams, and balances that are missing in Redis.
//
// It is not a client.Ledger, because it needs less: it passes events on as they are instead of
// decoding them, reads the header with the core's streams, and does not retry. The hub retries
// itself, for all clients of an account at once.
package coreclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config has the optional settings of a Client.
type Config struct {
	Timeout  time.Duration // limits one call. Defaults to 5 s.
	MaxConns int           // limits the connections to the core. Defaults to 64.

	// TokenFile is a file with the token. The client uses another token in it when Renew finds it,
	// or when the core refuses the present one. Empty: the token never changes.
	TokenFile string
}

// Client calls a core, or a load balancer in front of several cores. It implements ws.History.
type Client struct {
	base   string
	token  tokenFile
	client *http.Client

	streams atomic.Pointer[string] // the last X-Event-Streams header of the core
}

// HeaderStreams is the header in which the core reports the namespace and the number of partitions
// of its streams, in the form of bus.Keys.String.
const HeaderStreams = "X-Event-Streams"

// maxAnswer is the maximum size of an answer, in bytes. 1000 events with 8 KiB of metadata each fit.
const maxAnswer = 32 << 20

// ErrRefused means that the core does not accept the client's token.
var ErrRefused = errors.New("the core refused the token")

// idleConnTimeout is the time after which an unused connection is closed. It is less than the 5 s
// after which the core closes a connection on which it got no request: net/http keeps connections
// that it dialed and did not need, and a request at the moment of the close gets no answer.
const idleConnTimeout = 3 * time.Second

// New returns a client of the core at the URL. The token must have the scope wallet:read.
func New(coreURL, token string, cfg Config) (*Client, error) {
	u, err := url.Parse(coreURL)
	if err != nil || !isServerURL(u) {
		return nil, errors.New("the core's URL must be http://host:port or https://host")
	}

	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 64
	}
	c := &Client{
		base:  strings.TrimSuffix(u.String(), "/"),
		token: tokenFile{file: cfg.TokenFile},
		client: &http.Client{
			Timeout: cfg.Timeout,
			Transport: &http.Transport{
				Proxy:               nil, // the core is on the same network
				MaxConnsPerHost:     cfg.MaxConns,
				MaxIdleConnsPerHost: cfg.MaxConns,
				IdleConnTimeout:     idleConnTimeout,
			},
			// The core never redirects, and the token must not be sent to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
	c.token.current.Store(newToken(token))
	return c, nil
}

func isServerURL(u *url.URL) bool {
	if u.Host == "" {
		return false
	}
	return u.Scheme == "http" || u.Scheme == "https"
}

// Close closes idle connections.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// Ping returns nil if the core answers and accepts the token.
func (c *Client) Ping(ctx context.Context) error {
	_, _, err := c.Events(ctx, "user:0", 0, 1)
	return err
}

// Renew uses the token in the token file if it differs from the present one and the core accepts it.
// It reports whether the token was replaced. It does not ask the core about a token that the core
// has refused before.
func (c *Client) Renew(ctx context.Context) (renewed bool, err error) {
	return c.token.tryFile(func(candidate *token) error {
		_, _, err := c.getWith(ctx, candidate, "/v1/accounts/user:0/events?after=0&limit=1")
		return err
	})
}

// ErrStreams means that the core publishes events to other streams.
var ErrStreams = errors.New("the core publishes to other streams")

// CheckStreams returns ErrStreams if the core reports other keys. It returns nil if the core does
// not answer.
func (c *Client) CheckStreams(ctx context.Context, keys bus.Keys) error {
	if c.streams.Load() == nil {
		_ = c.Ping(ctx) // an error means that the keys stay unknown
	}

	reported := c.streams.Load()
	if reported == nil || *reported == keys.String() {
		return nil
	}
	return fmt.Errorf("%w: the core uses %s (namespace/partitions), this process uses %s; "+
		"both must have the same --namespace and --partitions", ErrStreams, *reported, keys)
}

// Balance returns the balance of an account. ok is false if the ledger does not have the account.
func (c *Client) Balance(ctx context.Context, account string) (b bus.Balance, ok bool, err error) {
	body, ok, err := c.getJSON(ctx, "/v1/accounts/"+url.PathEscape(account)+"/balance")
	if err != nil || !ok {
		return bus.Balance{}, false, wrapError("balance of "+account, err)
	}

	err = json.Unmarshal(body, &b)
	if err != nil {
		return bus.Balance{}, false, wrapError("balance of "+account, err)
	}
	if b.Account != account {
		return bus.Balance{}, false, wrapError("balance of "+account, errNotCore)
	}
	return b, true, nil
}

// Events returns events of an account with a seq greater than after, at most limit, the oldest
// first. Each event has the account's own view. last is the newest seq of the account, or 0 if the
// ledger does not have the account.
func (c *Client) Events(ctx context.Context, account string, after int64, limit int) (events []bus.Delivery, last int64, err error) {
	path := "/v1/accounts/" + url.PathEscape(account) + "/events" +
		"?after=" + strconv.FormatInt(after, 10) + "&limit=" + strconv.Itoa(limit)
	body, ok, err := c.getJSON(ctx, path)
	if err != nil || !ok {
		return nil, 0, wrapError("events of "+account, err)
	}

	events, last, err = decodeEvents(account, body)
	return events, last, wrapError("events of "+account, err)
}

func wrapError(object string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s from the core: %w", object, err)
}

// getJSON returns the body of an answer with status 200. ok is false if the core answers that it
// does not have the account. If the core refuses the token and there is another one, getJSON tries
// once more.
func (c *Client) getJSON(ctx context.Context, path string) (body []byte, ok bool, err error) {
	t := c.token.current.Load()
	body, ok, err = c.getWith(ctx, t, path)
	if !errors.Is(err, ErrRefused) {
		return body, ok, err
	}

	renewed := c.token.replaceRefused(t)
	if renewed == nil {
		return nil, false, err
	}
	return c.getWith(ctx, renewed, path)
}

// getWith is getJSON with the given token.
func (c *Client) getWith(ctx context.Context, t *token, path string) (body []byte, ok bool, err error) {
	body, ok, err = c.send(ctx, t.raw, path)
	t.noteAnswer(err)
	return body, ok, err
}

func (c *Client) send(ctx context.Context, rawToken, path string) (body []byte, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Authorization", "Bearer "+rawToken)

	resp, err := c.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	streams := resp.Header.Get(HeaderStreams)
	if streams != "" {
		c.streams.Store(&streams)
	}

	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, false, err
	case len(body) > maxAnswer:
		return nil, false, fmt.Errorf("the answer must not exceed %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK:
		return body, true, nil
	}
	return nil, false, decodeProblem(resp.StatusCode, body)
}

// decodeProblem returns the error of an answer with another status than 200. It returns nil if the
// core does not have the account.
func decodeProblem(status int, body []byte) error {
	var problem struct {
		Code   string
		Detail string
	}
	_ = json.Unmarshal(body, &problem) // without a code the error has only the status

	switch {
	case status == http.StatusNotFound && problem.Code == "account_not_found":
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrRefused, problem.Detail)
	}
	return fmt.Errorf("status %d: %s %s", status, problem.Code, problem.Detail)
}
