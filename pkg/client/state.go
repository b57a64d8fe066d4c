package client

import (
	"context"
	"iter"
	"time"
)

// StateName names a state of the connection.
type StateName string

// The states of a client's connection.
const (
	StateConnecting StateName = "connecting" // getting a token, or connecting
	StateLive       StateName = "live"       // connected and authenticated
	StateWaiting    StateName = "waiting"    // until RetryAt, then connecting
	StateClosed     StateName = "closed"     // for good
)

// State is the state of a client's connection.
type State struct {
	Name StateName
	// RetryAt is the time of the next attempt. Only a waiting client has it.
	RetryAt time.Time
	// Err says why the client waits or is closed, and what to change. It is an *Error, or wraps
	// ErrClosed, ErrUnauthorized or the error of Config.Token.
	Err error
}

// State returns the state of the connection.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// maxWaitingStates is the number of states that wait for a slow reader of States.
const maxWaitingStates = 64

// A stateReader is one loop over States.
type stateReader struct {
	queue []State
	wake  chan struct{} // has room for one signal
}

// States returns a sequence of the connection's states. It begins with the current one and ends
// after closed, or when ctx ends. A reader that is 64 states behind misses the oldest of them.
func (c *Client) States(ctx context.Context) iter.Seq[State] {
	return func(yield func(State) bool) {
		r := c.addStateReader()
		defer c.removeStateReader(r)
		for {
			s, ok := c.nextState(r)
			if ok {
				if !yield(s) || s.Name == StateClosed {
					return
				}
				continue
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (c *Client) addStateReader() *stateReader {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &stateReader{queue: []State{c.state}, wake: make(chan struct{}, 1)}
	c.stateReaders[r] = true
	return r
}

func (c *Client) removeStateReader(r *stateReader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stateReaders, r)
}

// nextState takes the oldest state that a reader has not seen.
func (c *Client) nextState(r *stateReader) (State, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(r.queue) == 0 {
		return State{}, false
	}
	s := r.queue[0]
	r.queue = r.queue[1:]
	return s, true
}

// setState changes the state and tells its readers. The caller holds mu.
func (c *Client) setState(s State) {
	c.state = s
	for r := range c.stateReaders {
		if len(r.queue) == maxWaitingStates {
			r.queue = r.queue[1:]
		}
		r.queue = append(r.queue, s)
		wakeReader(r.wake)
	}
}

// wakeReader sends a signal unless one is waiting.
func wakeReader(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
