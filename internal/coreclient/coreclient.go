// Package coreclient asks the core, over HTTP, what the gateway cannot know by
// itself: events that its memory and the streams no longer have, and balances
// that Redis lacks.
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

// Config is a client's optional settings.
type Config struct {
	Timeout  time.Duration // of one call. Defaults to 5 s.
	MaxConns int           // connections to the core. Defaults to 64.
}

// Client calls one core, or whatever balances several. It implements ws.History.
type Client struct {
	base   string
	token  string
	client *http.Client

	streams atomic.Pointer[string] // as the core told last
}

// HeaderStreams tells, with an account's events, where in Redis they are published: namespace/partitions, as
// bus.Keys prints itself.
const HeaderStreams = "X-Event-Streams"

// maxAnswer is more than 1000 events with 8 KiB of metadata each.
const maxAnswer = 32 << 20

// ErrRefused means that the core does not accept the client's token.
var ErrRefused = errors.New("the core refuses the token")

// New makes a client of the core at the URL. The token needs the scope
// wallet:read.
func New(coreURL, token string, cfg Config) (*Client, error) {
	u, err := url.Parse(coreURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("the core's URL is not http://host:port or https://host")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 64
	}
	return &Client{
		base:  strings.TrimSuffix(u.String(), "/"),
		token: token,
		client: &http.Client{
			Timeout: cfg.Timeout,
			Transport: &http.Transport{
				Proxy:               nil, // the core is a neighbour
				MaxConnsPerHost:     cfg.MaxConns,
				MaxIdleConnsPerHost: cfg.MaxConns,
				IdleConnTimeout:     time.Minute,
			},
			// The core never redirects; a token must not follow anybody who does.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// Ping tells whether the core answers and accepts the token.
func (c *Client) Ping(ctx context.Context) error {
	_, _, err := c.Events(ctx, "user:0", 0, 1)
	return err
}

// ErrStreams means that the core publishes events elsewhere.
var ErrStreams = errors.New("the core publishes events elsewhere")

// CheckStreams is ErrStreams when the core has told that it publishes to other keys. A core that cannot be
// asked is no error.
func (c *Client) CheckStreams(ctx context.Context, keys bus.Keys) error {
	if c.streams.Load() == nil {
		_ = c.Ping(ctx)
	}
	if s := c.streams.Load(); s != nil && *s != keys.String() {
		return fmt.Errorf("%w: it uses %s (namespace/partitions), this process %s; start it with the same --namespace and --partitions", ErrStreams, *s, keys)
	}
	return nil
}

// Balance returns the account's balance. ok is false when the ledger does not
// know the account.
func (c *Client) Balance(ctx context.Context, account string) (b bus.Balance, ok bool, err error) {
	body, ok, err := c.getJSON(ctx, "/v1/accounts/"+url.PathEscape(account)+"/balance")
	if err != nil || !ok {
		return bus.Balance{}, false, wrapError("balance of "+account, err)
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return bus.Balance{}, false, fmt.Errorf("balance of %s from the core: %w", account, err)
	}
	if b.Account != account {
		return bus.Balance{}, false, wrapError("balance of "+account, errNotCore)
	}
	return b, true, nil
}

// Events returns the account's deliveries with seq greater than after, oldest
// first, at most limit, as the account itself may see them, and its newest seq:
// 0 for an account that the ledger does not know.
func (c *Client) Events(ctx context.Context, account string, after int64, limit int) (events []bus.Delivery, last int64, err error) {
	body, ok, err := c.getJSON(ctx, "/v1/accounts/"+url.PathEscape(account)+"/events?after="+
		strconv.FormatInt(after, 10)+"&limit="+strconv.Itoa(limit))
	if err != nil || !ok {
		return nil, 0, wrapError("events of "+account, err)
	}
	events, last, err = decodeEvents(account, body)
	return events, last, wrapError("events of "+account, err)
}

func wrapError(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s from the core: %w", what, err)
}

// getJSON returns the body of a 200; ok is false after the 404 of an unknown account.
func (c *Client) getJSON(ctx context.Context, path string) (body []byte, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if s := resp.Header.Get(HeaderStreams); s != "" {
		c.streams.Store(&s)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, false, err
	case len(body) > maxAnswer:
		return nil, false, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK:
		return body, true, nil
	}
	var problem struct{ Code, Detail string }
	_ = json.Unmarshal(body, &problem) // without a code the status says enough
	switch {
	case resp.StatusCode == http.StatusNotFound && problem.Code == "account_not_found":
		return nil, false, nil
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, false, fmt.Errorf("%w: %s", ErrRefused, problem.Detail)
	}
	return nil, false, fmt.Errorf("status %d: %s %s", resp.StatusCode, problem.Code, problem.Detail)
}
