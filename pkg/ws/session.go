package ws

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A transport is the connection of a session: a WebSocket or an event stream.
type transport interface {
	// wakeWriter makes the writer write the send queue. It must not wait. Deliver calls it once for
	// a batch.
	wakeWriter()
	// flushQueue is wakeWriter for the client's own goroutine. It may write immediately.
	flushQueue()
	// closeWith ends the connection with the code. Only the first code counts. It never waits. The
	// reason is for the log.
	closeWith(code protocol.CloseCode, reason string)
	// wasActive reports whether the client sent anything since the last call.
	wasActive() bool
	// kindName returns the kind of the transport, for logs and administrators.
	kindName() string
}

// A session is one client: its identity, its subscriptions and its send queue. One goroutine, the
// reader, handles the client's frames. Other goroutines deliver events, repair gaps and handle
// deadlines.
type session struct {
	hub         *Hub
	transport   transport
	queue       netconn.Queue
	id          string
	remote      string
	connectedAt time.Time
	position    int // in the registry, whose mutex protects it

	ended chan struct{} // closed by endSession
	due   atomic.Int64  // the earliest deadline of the clock, in ns since 1970
	// newestSub is the time when the newest subscription was opened, in ms since 1970. Events from
	// before that time are sent from memory, and their latency is not measured.
	newestSub atomic.Int64

	mu            sync.Mutex // protects the fields below
	identity      *Identity  // nil: not authenticated yet
	identitySetAt time.Time
	expiresAt     time.Time // when the identity and the connection end
	subs          []*subscription
	gaps          []*feed // feeds to repair
	repairing     bool    // a goroutine repairs the gaps
	clock         clock
}

// A subscription is a subscription of a client. It is immutable after it was opened.
type subscription struct {
	session     *session
	name        string
	quotedName  []byte // as JSON
	filter      request.Filter
	feeds       []*feed // one for each account; none for ["*"]
	allAccounts bool    // ["*"]
}

func newSession(h *Hub, remote string) *session {
	return &session{
		hub: h,
		queue: netconn.Queue{
			MaxItems: h.cfg.QueueEvents,
			MaxBytes: h.cfg.QueueBytes,
		},
		id:          newID(),
		remote:      remote,
		connectedAt: time.Now(),
		ended:       make(chan struct{}),
	}
}

// enqueueItem adds an item to the send queue. It closes the connection when the queue is full. If
// first is true, the caller must wake the writer.
func (s *session) enqueueItem(it netconn.Item) (first bool) {
	first, ok := s.queue.Push(it)
	if !ok {
		s.hub.metrics.CountLimit(metrics.LimitQueue)
		s.transport.closeWith(protocol.CloseSlowConsumer, "the send queue is full")
	}

	return first
}

// enqueueFrame adds a frame that is not an event to the send queue, like enqueueItem.
func (s *session) enqueueFrame(frame []byte) (first bool) {
	return s.enqueueItem(netconn.Item{Frame: frame})
}

// enqueueEvent adds an event of a subscription to the send queue, like enqueueItem.
func (s *session) enqueueEvent(sub *subscription, e *event) (first bool) {
	frame := e.Frame(sub.name, sub.quotedName)
	return s.enqueueItem(netconn.Item{Frame: frame, Event: e})
}

// sendReply sends a frame from the client's own goroutine.
func (s *session) sendReply(frame []byte) {
	s.enqueueFrame(frame)
	s.transport.flushQueue()
}

// sendNotice sends a frame from any goroutine.
func (s *session) sendNotice(frame []byte) {
	if s.enqueueFrame(frame) {
		s.transport.wakeWriter()
	}
}

// sendPing sends a heartbeat.
func (s *session) sendPing() {
	s.sendNotice(nil)
}

// sealQueue stops the send queue of a connection that ends. It drops the queued frames of a client
// that is too slow.
func (s *session) sealQueue(code protocol.CloseCode) {
	dropped := s.queue.Seal(code == protocol.CloseSlowConsumer)
	s.hub.metrics.CountSlowDrops(dropped)
}

// recordWrite updates the metrics for items that were written to the client.
func (s *session) recordWrite(items []netconn.Item) {
	s.hub.metrics.ObserveWrite(items, s.newestSub.Load())
}

// endSession closes all subscriptions and the send queue. The reader calls it when it ends.
func (s *session) endSession() {
	s.queue.Seal(true)
	s.mu.Lock()
	subs := s.subs
	s.subs = nil
	s.gaps = nil
	s.mu.Unlock()
	for _, sub := range subs {
		sub.closeFeeds()
	}

	close(s.ended)
}

// removeFromHub removes the session from the registry. It must come after endSession.
func (s *session) removeFromHub() {
	s.hub.clients.removeSession(s, s.currentIdentity())
	s.hub.metrics.Connections.Dec()
}

// reportEnd counts and logs how the connection ended.
func (s *session) reportEnd(code protocol.CloseCode, reason string) {
	s.hub.metrics.CountClose(code)
	s.hub.closeLog.logClose(s, code, reason)
}

// currentIdentity returns the identity, or nil before the first token.
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

// removeSub removes a subscription from the list and returns it, or nil if there is none.
func (s *session) removeSub(name string) *subscription {
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

// closeFeeds stops the events of the subscription. No event is queued for it afterwards.
func (sub *subscription) closeFeeds() {
	for _, f := range sub.feeds {
		f.leaveShard()
	}

	h := sub.session.hub
	if sub.allAccounts {
		h.removeAllAccounts(sub)
	}

	h.metrics.Subscriptions.Dec()
}

// handleUnsubscribe handles an unsubscribe frame.
func (s *session) handleUnsubscribe(name string) *protocol.Refusal {
	sub := s.removeSub(name)
	if sub == nil {
		code := protocol.CodeUnknownSubscription
		return protocol.Refuse(code, "no subscription with this name is open")
	}

	sub.closeFeeds()
	s.sendReply(protocol.UnsubscribedFrame(sub.quotedName))

	return nil
}
