package ws

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// transport is a client's connection as the engine sees it. A subscription does
// not know whether a WebSocket or something else carries its frames.
type transport interface {
	// wake says that the send queue has something to write. It is called once for a
	// batch of deliveries, by goroutines that must not wait.
	wake()
	// flush is wake from the client's own goroutine: it may write at once.
	flush()
	// closeWith ends the connection; the first code wins. It never waits.
	closeWith(code protocol.CloseCode, detail string)
	// alive tells whether the peer was heard since the last call.
	alive() bool
	// name is what kind it is.
	name() string
}

// session is one client: who it is, what it subscribed to, what waits for it. The
// client's frames are handled by one goroutine, its reader; deliveries, repairs and
// the hub's clock come from others.
type session struct {
	hub       *Hub
	transport transport
	sendQueue sendQueue
	id        string
	remote    string
	since     time.Time
	position  int // in the registry, protected by its mutex

	ended chan struct{} // closed when the client is gone
	due   atomic.Int64  // when tick has to look again, in ns since 1970
	fresh atomic.Int64  // when the newest subscription was opened, in ms since 1970: what Redis took before is no live event

	mu        sync.Mutex // protects what follows
	identity  *Identity
	seen      time.Time // when identity was taken
	expiresAt time.Time // when their time is over, and the connection with it
	subs      []*subscription
	gaps      []*feed // waiting to be repaired
	repairing bool    // a goroutine works on gaps
	clock     clock
}

// subscription is what a client opened under a name. It does not change.
type subscription struct {
	session     *session
	name        string
	quoted      []byte // the name as JSON
	filter      filter
	feeds       []*feed // one for each account; none for ["*"]
	allAccounts bool    // ["*"]
}

func newSession(h *Hub, id, remote string) *session {
	return &session{
		hub: h, id: id, remote: remote, since: time.Now(),
		ended:     make(chan struct{}),
		sendQueue: sendQueue{maxItems: h.cfg.QueueEvents, maxBytes: h.cfg.QueueBytes},
	}
}

// enqueue puts an item into the send queue; a full one ends the connection. first tells
// the caller to wake the transport.
func (s *session) enqueue(it item) (first bool) {
	first, ok := s.sendQueue.push(it)
	if !ok {
		s.hub.metrics.limit(limitQueue)
		s.transport.closeWith(protocol.CloseSlowConsumer, "queue full")
	}
	return first
}

// reply queues a frame and has it written, from the client's own goroutine.
func (s *session) reply(frame []byte) {
	s.enqueue(item{frame: frame})
	s.transport.flush()
}

// notify queues a frame and has it written, from any goroutine.
func (s *session) notify(it item) {
	if s.enqueue(it) {
		s.transport.wake()
	}
}

// end takes the client out of everything. Its reader calls it, last of all.
func (s *session) end() {
	s.sendQueue.seal(true)
	s.mu.Lock()
	subs := s.subs
	s.subs, s.gaps = nil, nil
	s.mu.Unlock()
	for _, sub := range subs {
		sub.close()
	}
	close(s.ended)
}

// remove takes the client off the registry, when nothing else is left of it.
func (s *session) remove() {
	s.mu.Lock()
	identity := s.identity
	s.mu.Unlock()
	s.hub.clients.remove(s, identity)
	s.hub.metrics.connections.Dec()
}

// left notes how a connection has ended.
func (s *session) left(code protocol.CloseCode, detail string) {
	s.hub.metrics.closed(code)
	s.hub.closeLog.logClose(s, code, detail)
}

// find looks a subscription up by name. The caller holds mu.
func (s *session) find(name string) int {
	for i, sub := range s.subs {
		if sub.name == name {
			return i
		}
	}
	return -1
}

// forget takes a subscription off the list. It is nil when there is none.
func (s *session) forget(name string) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(name)
	if i < 0 {
		return nil
	}
	sub := s.subs[i]
	s.subs = append(s.subs[:i:i], s.subs[i+1:]...)
	return sub
}

// close ends the flow of events. None is queued afterwards.
func (sub *subscription) close() {
	for _, f := range sub.feeds {
		f.leave()
	}
	if sub.allAccounts {
		sub.session.hub.removeAllAccounts(sub)
	}
	sub.session.hub.metrics.subscriptions.Dec()
}

// unsubscribe handles the client's frame.
func (s *session) unsubscribe(name string) *protocol.Refusal {
	sub := s.forget(name)
	if sub == nil {
		return protocol.Refuse(protocol.CodeUnknownSubscription, "there is no subscription of that name")
	}
	sub.close()
	s.reply(protocol.UnsubscribedFrame(sub.quoted))
	return nil
}
