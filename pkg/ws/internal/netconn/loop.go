package netconn

import (
	"context"
	"sync"
	"time"
)

// maxRest bounds the time between two passes.
const maxRest = 2 * time.Millisecond

// A passWriter is a connection as its loop sees it. writeNow must not wait for the client.
type passWriter interface {
	writeNow(buf *Buffer)
}

// loop writes for many connections and never waits for any: what a socket does not take at
// once goes to a goroutine of that connection alone.
//
// A loop writes in passes. A pass begins as soon as a connection has something to write, and
// visits each connection that has. What is delivered during a pass gathers in the send queues
// until the connection is visited, in this pass or in the next one. So a loop with little to do
// writes each event at once, and under load passes become longer and writes larger by themselves.
//
// When passes follow each other without a pause, the processor is the bottleneck, and a write costs
// the same whatever it carries. So a pass begins at the earliest half of the last pass's duration
// after its end, or maxRest after it if that is less. What comes less often never waits.
type loop struct {
	signal chan struct{} // holds one: pending is not empty

	mu      sync.Mutex   // protects pending
	pending []passWriter // for the next pass
}

func newLoop() *loop { return &loop{signal: make(chan struct{}, 1)} }

// add puts the connection into the next pass.
func (l *loop) add(w passWriter) {
	l.mu.Lock()
	l.pending = append(l.pending, w)
	first := len(l.pending) == 1
	l.mu.Unlock()
	if !first {
		return
	}
	select {
	case l.signal <- struct{}{}:
	default: // the loop has not seen the last signal yet
	}
}

// run makes passes until ctx ends.
func (l *loop) run(ctx context.Context) error {
	buf := newBuffer()
	var pass []passWriter
	var earliest time.Time // begin of the next pass
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.signal:
		}
		if wait := time.Until(earliest); wait > 0 {
			rest.Reset(wait)
			select {
			case <-ctx.Done():
				return nil
			case <-rest.C:
			}
		}
		l.mu.Lock()
		pass, l.pending = l.pending, pass[:0]
		l.mu.Unlock()
		begin := time.Now()
		for _, w := range pass {
			w.writeNow(buf)
		}
		clear(pass)
		end := time.Now()
		earliest = end.Add(min(maxRest, end.Sub(begin)/2))
	}
}
