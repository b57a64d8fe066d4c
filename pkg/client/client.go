package client

import (
	"context"
	"sync"

	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

// Client is one connection to a gateway that connects again by itself. All methods may be called
// concurrently.
type Client struct {
	url string
	cfg Config

	workers sync.WaitGroup // the goroutines of connections

	mu           sync.Mutex // protects the fields below
	state        State
	stateReaders map[*stateReader]bool
	token        func(ctx context.Context) (string, error)
	tokens       tokenRequests
	user         int         // counts the calls of SwitchUser
	isDial       bool        // the first attempt of Dial has not ended
	conn         *connection // nil: there is none
	rejected     bool        // the gateway refused the newest token
	reconnects   pauses
	retryTimer   clock.Timer // of a waiting client

	subs        map[*subscription]bool
	subsByName  map[string]*subscription // those that were requested on the connection
	lastSubName int
	balances    map[string]*balanceEntry // by account
}

// New returns a client of the gateway at the URL, such as wss://gateway.example.com/v1/ws. The
// client connects in the background, and tries again after failures. Close ends it.
func New(url string, cfg Config) (*Client, error) { return newClient(url, cfg, false) }

// newClient returns a client. If isDial is true, it ends when its first attempt fails.
func newClient(url string, cfg Config, isDial bool) (*Client, error) {
	err := checkURL(url)
	if err != nil {
		return nil, err
	}
	err = cfg.setDefaults()
	if err != nil {
		return nil, err
	}

	c := &Client{
		url:          url,
		cfg:          cfg,
		stateReaders: map[*stateReader]bool{},
		token:        cfg.Token,
		isDial:       isDial,
		subs:         map[*subscription]bool{},
		subsByName:   map[string]*subscription{},
		balances:     map[string]*balanceEntry{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connect()
	return c, nil
}

// Dial returns a client that is connected. It returns the error of the first attempt if that fails,
// or when ctx ends. Later the client connects again by itself. Use New for a program that may start
// before its gateway.
func Dial(ctx context.Context, url string, cfg Config) (*Client, error) {
	c, err := newClient(url, cfg, true)
	if err != nil {
		return nil, err
	}
	for s := range c.States(ctx) {
		switch s.Name {
		case StateLive:
			return c, nil
		case StateClosed:
			c.Close()
			return nil, s.Err
		}
	}
	c.Close()
	return nil, ctx.Err()
}

// Close ends the client. Its subscriptions and balances end with ErrClosed. It waits until the
// connection is closed, which takes at most a few seconds. It may be called twice.
func (c *Client) Close() {
	c.mu.Lock()
	c.end(ErrClosed)
	c.mu.Unlock()
	c.workers.Wait()
}

// SwitchUser continues as another user. The subscriptions and balances of the present user end with
// ErrUserSwitched before the first token of the new user is asked for. Tokens and frames that arrive
// late for the present user are dropped.
func (c *Client) SwitchUser(token func(ctx context.Context) (string, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Name == StateClosed {
		return
	}

	c.user++
	c.token = token
	c.failSubscriptions(ErrUserSwitched)
	c.tokens.drop()
	c.rejected = false
	c.reconnects.reset()
	c.dropConnection()
	c.connect()
}

// end ends the client for good. The caller holds mu.
func (c *Client) end(err error) {
	if c.state.Name == StateClosed {
		return
	}
	c.failSubscriptions(err)
	c.tokens.drop()
	c.dropConnection()
	c.stopRetryTimer()
	c.setState(State{Name: StateClosed, Err: err})
}

// failSubscriptions ends all subscriptions and balances. The caller holds mu.
func (c *Client) failSubscriptions(err error) {
	for s := range c.subs {
		s.forgetName() // the connection is dropped next
		s.fail(err)
	}
	clear(c.balances)
}
