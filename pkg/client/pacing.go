package client

import (
	"time"

	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

// The gateway closes a connection that sends more than 20 frames a second, after a burst of 40. The
// client stays below.
const (
	frameBurst    = 35
	framesPerTick = 3
	frameTick     = 200 * time.Millisecond
)

// frameQueue holds frames that wait for the limit. It is bounded by the open subscriptions: a
// subscription that ends before its frame was sent takes the frame out.
type frameQueue struct {
	waiting    []queuedFrame
	credit     int
	refilledAt time.Time
	timer      clock.Timer
}

// queuedFrame is a frame, or the subscribe frame of a subscription, which is encoded when it is
// sent.
type queuedFrame struct {
	frame []byte
	sub   *subscription
}

func (q *frameQueue) refill(now time.Time) {
	q.credit = frameBurst
	q.refilledAt = now
}

func (q *frameQueue) stop() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// earnCredit adds the credit of the time since the last call.
func (q *frameQueue) earnCredit(now time.Time) {
	ticks := int(now.Sub(q.refilledAt) / frameTick)
	if ticks <= 0 {
		return
	}
	q.refilledAt = q.refilledAt.Add(time.Duration(ticks) * frameTick)
	q.credit = min(q.credit+ticks*framesPerTick, frameBurst)
}

// queueFrame sends a frame as soon as the limit allows it. The caller holds mu.
func (conn *connection) queueFrame(frame []byte) {
	conn.frames.waiting = append(conn.frames.waiting, queuedFrame{frame: frame})
	conn.flushFrames()
}

// queueFirst sends a frame before those that wait. The caller holds mu.
func (conn *connection) queueFirst(frame []byte) {
	conn.frames.waiting = append([]queuedFrame{{frame: frame}}, conn.frames.waiting...)
	conn.flushFrames()
}

// queueSubscribe sends the subscribe frame of a subscription. The caller holds mu.
func (conn *connection) queueSubscribe(s *subscription) {
	conn.frames.waiting = append(conn.frames.waiting, queuedFrame{sub: s})
	conn.flushFrames()
}

// cancelSubscribe takes the subscribe frame of a subscription out of the queue. It returns false if
// the frame was sent. The caller holds mu.
func (conn *connection) cancelSubscribe(s *subscription) bool {
	for i, q := range conn.frames.waiting {
		if q.sub == s {
			conn.frames.waiting = append(conn.frames.waiting[:i], conn.frames.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// flushFrames sends the frames that the limit allows. The caller holds mu.
func (conn *connection) flushFrames() {
	q := &conn.frames
	q.earnCredit(conn.client.cfg.clock.Now())
	for len(q.waiting) > 0 && q.credit > 0 {
		next := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.credit--
		frame := next.frame
		if next.sub != nil {
			frame = next.sub.encodeSubscribe()
		}
		select {
		case conn.writes <- frame:
		default: // the network has not taken a frame for seconds
			conn.cancel()
			return
		}
	}
	if len(q.waiting) > 0 {
		q.stop()
		q.timer = conn.client.cfg.clock.AfterFunc(frameTick, conn.flushLater)
	}
}

func (conn *connection) flushLater() {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		conn.flushFrames()
	}
}
