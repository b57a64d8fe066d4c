package ws

import (
	"context"
	"sync"
	"time"
)

// writeLoop writes for many connections, never waiting for any: what a socket does
// not take at once goes to a goroutine of that connection alone. A loop is woken
// once for a batch of deliveries, however many connections got something.
//
// A write costs the same whatever it carries, so a loop that is busy lets frames
// gather: a connection that was just written to has to wait until pace has passed.
// A loop with little to do, and a connection that gets something now and then, never
// wait.
type writeLoop struct {
	signal chan struct{}

	mu      sync.Mutex // protects pending
	pending []*conn

	// What follows belongs to run.
	waiting []*conn // for their time, which is the same for all: due
	due     time.Time
	load    float64 // share of the time that was spent writing, lately
	ended   time.Time
}

const (
	longestPace = 25 * time.Millisecond
	idleLoad    = 0.15 // up to here nobody waits
	fullLoad    = 0.25 // from here on pace is the longest
	loadWindow  = 200 * time.Millisecond
)

func newWriteLoop() *writeLoop { return &writeLoop{signal: make(chan struct{}, 1)} }

// wake is for Deliver: the connection's loop will write.
func (c *conn) wake() { c.loop.add(c) }

// add has the loop write to the connection.
func (l *writeLoop) add(c *conn) {
	l.mu.Lock()
	l.pending = append(l.pending, c)
	first := len(l.pending) == 1
	l.mu.Unlock()
	if first {
		select {
		case l.signal <- struct{}{}:
		default:
		}
	}
}

func (l *writeLoop) run(ctx context.Context) error {
	buf := newWriteBuffer()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []*conn
	l.ended = time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.signal:
		case <-timer.C:
		}
		l.mu.Lock()
		batch, l.pending = l.pending, batch[:0]
		l.mu.Unlock()
		l.pass(batch, buf)
		clear(batch)
		if len(l.waiting) > 0 {
			timer.Reset(time.Until(l.due))
		}
	}
}

// pass writes to those who have waited long enough and to the new ones, unless
// they have to wait.
func (l *writeLoop) pass(batch []*conn, buf *writeBuffer) {
	begin := time.Now()
	if len(l.waiting) > 0 && !begin.Before(l.due) {
		for _, c := range l.waiting {
			c.passed = begin
			c.writeNow(buf)
		}
		clear(l.waiting)
		l.waiting = l.waiting[:0]
	}
	pace := l.pace()
	for _, c := range batch {
		if begin.Sub(c.passed) < pace && !c.session.sendQueue.crowded() {
			if len(l.waiting) == 0 {
				l.due = c.passed.Add(pace)
			}
			l.waiting = append(l.waiting, c)
			continue
		}
		c.passed = begin
		c.writeNow(buf)
	}
	end := time.Now()
	l.load = (l.load*loadWindow.Seconds() + end.Sub(begin).Seconds()) / (loadWindow + end.Sub(l.ended)).Seconds()
	l.ended = end
}

// pace is how long a connection waits for its next write.
func (l *writeLoop) pace() time.Duration {
	share := (l.load - idleLoad) / (fullLoad - idleLoad)
	return time.Duration(min(1, max(0, share)) * float64(longestPace))
}
