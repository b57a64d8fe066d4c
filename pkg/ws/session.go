package ws

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A transport is the connection of a session: a WebSocket or an event stream.
type transport interface {
	feed.Transport

	// wasActive reports whether the client sent anything since the last call.
	wasActive() bool
	// kindName returns the kind of the transport, for logs and administrators.
	kindName() string
}

// A session is one client: its identity, its subscriptions and its send queue. One goroutine, the
// reader, handles the client's frames. Other goroutines deliver events, repair gaps and handle
// deadlines.
type session struct {
	feed.Client

	hub         *Hub
	transport   transport
	remote      string
	network     netip.Prefix // of the remote address, for the limit; zero: not limited
	connectedAt time.Time
	position    int // in the registry, whose mutex protects it

	due atomic.Int64 // the earliest deadline of the clock, in ns since 1970
	// newestSub is the time when the newest subscription was opened, in ms since 1970. Events from
	// before that time are sent from memory, and their latency is not measured.
	newestSub atomic.Int64

	mu            sync.Mutex // protects the fields below
	identity      *Identity  // nil: not authenticated yet
	identitySetAt time.Time
	expiresAt     time.Time // when the identity and the connection end
	subs          []*feed.Subscription
	clock         clock
}

// newSession returns the session of a new connection. setTransport must be called next.
func newSession(h *Hub, remote string) *session {
	s := &session{
		hub:         h,
		remote:      remote,
		network:     networkOf(remote),
		connectedAt: time.Now(),
	}
	h.feeds.InitClient(&s.Client, newID())

	return s
}

// setTransport sets the connection of the session.
func (s *session) setTransport(t transport) {
	s.transport = t
	s.Transport = t
}

// sendReply sends a frame from the client's own goroutine.
func (s *session) sendReply(frame []byte) {
	s.EnqueueFrame(frame)
	s.transport.FlushQueue()
}

// sendNotice sends a frame from any goroutine.
func (s *session) sendNotice(frame []byte) {
	if s.EnqueueFrame(frame) {
		s.transport.WakeWriter()
	}
}

// sendPing sends a heartbeat.
func (s *session) sendPing() {
	s.sendNotice(nil)
}

// sealQueue stops the send queue of a connection that ends. It drops the queued frames of a client
// that is too slow.
func (s *session) sealQueue(code protocol.CloseCode) {
	dropped := s.Queue.Seal(code == protocol.CloseSlowConsumer)
	s.hub.metrics.CountSlowDrops(dropped)
}

// recordWrite updates the metrics for items that were written to the client.
func (s *session) recordWrite(items []netconn.Item) {
	s.hub.metrics.ObserveWrite(items, s.newestSub.Load())
}

// endSession closes all subscriptions and the send queue. The reader calls it when it ends.
func (s *session) endSession() {
	s.Queue.Seal(true)
	s.mu.Lock()
	subs := s.subs
	s.subs = nil
	s.mu.Unlock()
	for _, sub := range subs {
		s.closeSub(sub)
	}

	s.EndClient()
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
		if sub.Name == name {
			return i
		}
	}

	return -1
}

// removeSub removes a subscription from the list and returns it, or nil if there is none.
func (s *session) removeSub(name string) *feed.Subscription {
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

// closeSub stops the events of a subscription that was removed from the list.
func (s *session) closeSub(sub *feed.Subscription) {
	sub.CloseFeeds()
	s.hub.metrics.Subscriptions.Dec()
}

// handleUnsubscribe handles an unsubscribe frame.
func (s *session) handleUnsubscribe(name string) *protocol.Refusal {
	sub := s.removeSub(name)
	if sub == nil {
		code := protocol.CodeUnknownSubscription
		return protocol.Refuse(code, "no subscription with this name is open")
	}

	s.closeSub(sub)
	s.sendReply(protocol.UnsubscribedFrame(sub.QuotedName))

	return nil
}
