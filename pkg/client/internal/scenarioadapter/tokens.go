package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/client"
)

// tokenCalls are the calls of token functions that the runner has not answered.
type tokenCalls struct {
	report func(object)

	mu    sync.Mutex // protects the fields below
	count int
	open  []*tokenCall
}

type tokenCall struct {
	number int
	answer chan tokenAnswer
}

type tokenAnswer struct {
	token string
	err   error
}

// function returns the token function of a user. Each call waits for the runner.
func (t *tokenCalls) function(clientName, user string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		call := t.addCall()
		t.report(object{
			"report": "token",
			"client": clientName,
			"user":   user,
			"reason": client.TokenReasonOf(ctx),
			"call":   call.number,
		})
		select {
		case a := <-call.answer:
			return a.token, a.err
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (t *tokenCalls) addCall() *tokenCall {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	call := &tokenCall{number: t.count, answer: make(chan tokenAnswer, 1)}
	t.open = append(t.open, call)
	return call
}

// answer answers the oldest open call, or the one that the command names. A call that the client has
// cancelled gets an answer too, which nobody reads.
func (t *tokenCalls) answer(c *command) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	isMeant := func(call *tokenCall) bool { return c.Call == 0 || call.number == c.Call }
	i := slices.IndexFunc(t.open, isMeant)
	if i < 0 {
		return errors.New("no call of the token function is open")
	}
	call := t.open[i]
	t.open = slices.Delete(t.open, i, i+1)
	switch {
	case c.Unauthorized:
		call.answer <- tokenAnswer{err: client.ErrUnauthorized}
	case c.Fail != "":
		call.answer <- tokenAnswer{err: errors.New(c.Fail)}
	default:
		call.answer <- tokenAnswer{token: c.Give}
	}
	return nil
}
