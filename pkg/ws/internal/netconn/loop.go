package netconn

import (
	"context"
	"sync"
	"time"
)

// maxPause is the maximum pause between two passes.
const maxPause = 4 * time.Millisecond

// A passWriter is a connection that a loop writes to. writeNow must not wait for the client.
type passWriter interface {
	writeNow(buf *Buffer)
}

// A loop writes for many connections and never waits for any of them. If a socket does not accept
// everything at once, a goroutine of that connection writes the rest.
//
// A loop writes in passes. A pass begins as soon as a connection has something to write, and visits
// each connection that has something to write. Frames that are delivered during a pass gather in
// the send queues until the connection is visited, in this pass or in the next one. A loop with
// little work therefore writes each event at once. Under load, passes become longer and each write
// becomes larger.
//
// When passes follow each other without a pause, the processor is the bottleneck, and larger writes
// cost little more than small ones. The loop therefore pauses after a pass for as long as the pass
// took, and for maxPause at most. A pass that is needed later than that does not wait.
type loop struct {
	signal chan struct{} // has a capacity of one; sent when pending is no longer empty

	mu      sync.Mutex   // protects pending
	pending []passWriter // for the next pass
}

func newLoop() *loop {
	return &loop{signal: make(chan struct{}, 1)}
}

// addToNextPass adds the connection to the next pass.
func (l *loop) addToNextPass(w passWriter) {
	l.mu.Lock()
	l.pending = append(l.pending, w)
	isFirst := len(l.pending) == 1
	l.mu.Unlock()
	if !isFirst {
		return
	}

	select {
	case l.signal <- struct{}{}:
	default: // the loop has not received the last signal yet
	}
}

// runPasses runs passes until ctx is done.
func (l *loop) runPasses(ctx context.Context) error {
	buf := newBuffer()
	var pass []passWriter
	var earliest time.Time // earliest start of the next pass
	pause := time.NewTimer(0)
	defer pause.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.signal:
		}

		wait := time.Until(earliest)
		if wait > 0 {
			pause.Reset(wait)
			select {
			case <-ctx.Done():
				return nil
			case <-pause.C:
			}
		}

		l.mu.Lock()
		pass, l.pending = l.pending, pass[:0]
		l.mu.Unlock()

		start := time.Now()
		for _, w := range pass {
			w.writeNow(buf)
		}

		clear(pass)
		end := time.Now()
		earliest = end.Add(min(maxPause, end.Sub(start)))
	}
}
