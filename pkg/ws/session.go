package ws

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// transport is a client's connection as the engine sees it. A subscription does not know whether a
// WebSocket or an event stream carries its frames.
type transport interface {
	// wakeWriter says that the send queue has something to write. It is called once for a batch of
	// deliveries, by goroutines that must not wait.
	wakeWriter()
	// flushQueue is wakeWriter for the client's own goroutine: it may write at once.
	flushQueue()
	// closeWith ends the connection. The first code wins. It never waits.
	closeWith(code protocol.CloseCode, detail string)
	// wasHeard reports whether the client sent anything since the last call.
	wasHeard() bool
	// kindName is the kind of transport for logs and administrators.
	kindName() string
}

// session is one client: who it is, what it subscribed to, what waits for it. One goroutine, its
// reader, handles the client's frames. Deliveries, repairs and the hub's clock come from others.
type session struct {
	hub       *Hub
	transport transport
	queue     netconn.Queue
	id        string
	remote    string
	since     time.Time
	position  int // in the registry, protected by its mutex

	ended chan struct{} // closed when the client is gone
	due   atomic.Int64  // when tick has to look again, in ns since 1970
	// When the newest subscription was opened, in ms since 1970. An event that Redis took before is
	// sent from memory and says nothing about latency.
	newestSub atomic.Int64

	mu        sync.Mutex // protects what follows
	identity  *Identity  // nil: no token has come yet
	seen      time.Time  // when identity was taken
	expiresAt time.Time  // when identity ends, and the connection with it
	subs      []*subscription
	gaps      []*feed // waiting to be repaired
	repairing bool    // a goroutine works on gaps
	clock     clock
}

// subscription is what a client opened under a name. It does not change.
type subscription struct {
	session     *session
	name        string
	quotedName  []byte // as JSON
	filter      filter
	feeds       []*feed // one for each account; none for ["*"]
	allAccounts bool    // ["*"]
}

func newSession(h *Hub, remote string) *session {
	return &session{
		hub:    h,
		queue:  netconn.Queue{MaxItems: h.cfg.QueueEvents, MaxBytes: h.cfg.QueueBytes},
		id:     newID(),
		remote: remote,
		since:  time.Now(),
		ended:  make(chan struct{}),
	}
}

// enqueue puts an item into the send queue. A full queue ends the connection. first tells the
// caller to wake the writer.
func (s *session) enqueue(it netconn.Item) (first bool) {
	first, ok := s.queue.Push(it)
	if !ok {
		s.hub.metrics.countLimit(limitQueue)
		s.transport.closeWith(protocol.CloseSlowConsumer, "queue full")
	}
	return first
}

// enqueueFrame is enqueue for a frame that is no event.
func (s *session) enqueueFrame(frame []byte) (first bool) {
	return s.enqueue(netconn.Item{Frame: frame})
}

// enqueueEvent is enqueue for an event of a subscription.
func (s *session) enqueueEvent(sub *subscription, e *event) (first bool) {
	return s.enqueue(netconn.Item{Frame: e.Frame(sub.name, sub.quotedName), Event: e})
}

// reply queues a frame and has it written, from the client's own goroutine.
func (s *session) reply(frame []byte) {
	s.enqueueFrame(frame)
	s.transport.flushQueue()
}

// notify queues a frame and has it written, from any goroutine.
func (s *session) notify(frame []byte) {
	if s.enqueueFrame(frame) {
		s.transport.wakeWriter()
	}
}

// ping has a heartbeat written.
func (s *session) ping() { s.notify(nil) }

// sealQueue lets nothing more into the queue of a connection that ends. For a client that is too
// slow, what waits is dropped.
func (s *session) sealQueue(code protocol.CloseCode) {
	dropped := s.queue.Seal(code == protocol.CloseSlowConsumer)
	s.hub.metrics.drops.WithLabelValues(dropSlow).Add(float64(dropped))
}

// noteWrite measures items that were written to the client.
func (s *session) noteWrite(items []netconn.Item) {
	s.hub.metrics.observeWrite(items, s.newestSub.Load())
}

// end takes the client out of everything. Its reader calls it, last of all.
func (s *session) end() {
	s.queue.Seal(true)
	s.mu.Lock()
	subs := s.subs
	s.subs = nil
	s.gaps = nil
	s.mu.Unlock()
	for _, sub := range subs {
		sub.close()
	}
	close(s.ended)
}

// remove takes the client off the registry, when nothing else is left of it.
func (s *session) remove() {
	s.hub.clients.remove(s, s.currentIdentity())
	s.hub.metrics.connections.Dec()
}

// logEnd notes how a connection has ended.
func (s *session) logEnd(code protocol.CloseCode, detail string) {
	s.hub.metrics.countClose(code)
	s.hub.closeLog.logClose(s, code, detail)
}

// currentIdentity is nil before the first token.
func (s *session) currentIdentity() *Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// findSub returns the index of a subscription, or -1. The caller holds mu.
func (s *session) findSub(name string) int {
	for i, sub := range s.subs {
		if sub.name == name {
			return i
		}
	}
	return -1
}

// forgetSub takes a subscription off the list. It returns nil when there is none.
func (s *session) forgetSub(name string) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.findSub(name)
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
	h := sub.session.hub
	if sub.allAccounts {
		h.removeAllAccounts(sub)
	}
	h.metrics.subscriptions.Dec()
}

// unsubscribe handles the client's frame.
func (s *session) unsubscribe(name string) *protocol.Refusal {
	sub := s.forgetSub(name)
	if sub == nil {
		return protocol.Refuse(protocol.CodeUnknownSubscription, "there is no subscription of that name")
	}
	sub.close()
	s.reply(protocol.UnsubscribedFrame(sub.quotedName))
	return nil
}
