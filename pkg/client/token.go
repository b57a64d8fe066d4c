package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// tokenTimeout bounds one call of the token function.
const tokenTimeout = 30 * time.Second

// tokenRequests keeps the calls of the token function apart, so that there is never more than one. The
// client's mu protects it.
type tokenRequests struct {
	call *tokenCall // in flight; nil: there is none
	next *tokenCall // begins when call has returned; nil: there is none
}

// tokenCall is one call of the token function.
type tokenCall struct {
	token  func(ctx context.Context) (string, error)
	reason TokenReason
	cancel context.CancelFunc
	// deliver gets the result. It is nil if nobody wants the result any more.
	deliver func(token string, err error)
}

// drop cancels the call in flight, whose result nobody gets.
func (r *tokenRequests) drop() {
	if r.call != nil {
		r.call.deliver = nil
		r.call.cancel()
	}
	r.next = nil
}

// requestToken calls the user's token function and then deliver, which is called with mu held. A call
// for the same reason that is in flight is not repeated. After any other call in flight, whose result
// is dropped, the function is called again: that result may be the token that was just refused. The
// caller holds mu.
func (c *Client) requestToken(reason TokenReason, deliver func(token string, err error)) {
	call := &tokenCall{token: c.token, reason: reason, deliver: deliver}
	current := c.tokens.call
	switch {
	case current == nil:
		c.startTokenCall(call)
	case current.deliver != nil && current.reason == reason:
		current.deliver = deliver
	default:
		c.tokens.drop()
		c.tokens.next = call
	}
}

// startTokenCall calls the token function in a goroutine of its own. The caller holds mu.
func (c *Client) startTokenCall(call *tokenCall) {
	ctx, cancel := context.WithCancel(context.Background())
	call.cancel = cancel
	c.tokens.call = call
	deadline := c.cfg.clock.AfterFunc(tokenTimeout, cancel)
	go func() {
		token, err := callToken(ctx, call)
		deadline.Stop()
		cancel()

		c.mu.Lock()
		defer c.mu.Unlock()
		c.tokens.call = nil
		if call.deliver != nil {
			call.deliver(token, err)
		}
		next := c.tokens.next
		c.tokens.next = nil
		if next != nil && c.tokens.call == nil {
			c.startTokenCall(next)
		}
	}()
}

// callToken calls a token function. A panic becomes an error, because it would end the whole program.
func callToken(ctx context.Context, call *tokenCall) (token string, err error) {
	defer func() {
		p := recover()
		if p != nil {
			err = fmt.Errorf("the token function panicked: %v", p)
		}
	}()
	token, err = call.token(context.WithValue(ctx, tokenReasonKey{}, call.reason))
	if err == nil && !isHeaderValue(token) {
		err = errors.New("the token function must return a token without spaces and line breaks around it")
	}
	return token, err
}

// isHeaderValue reports whether a token can be sent in a header as it is. A line break at the end is
// the usual mistake.
func isHeaderValue(token string) bool {
	for i := range len(token) {
		if token[i] < ' ' || token[i] >= 0x7f {
			return false
		}
	}
	return token != "" && token == strings.TrimSpace(token)
}
