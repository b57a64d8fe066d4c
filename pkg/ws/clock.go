package ws

import (
	"math/rand/v2"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// tickInterval is how often the hub looks whose time has come. One look at all clients costs less
// than a timer for each.
const tickInterval = 200 * time.Millisecond

// lateToken is how long a connection lasts whose token had expired when it came, and was accepted
// because clocks differ.
const lateToken = 30 * time.Second

// clock is what a session has to do at what time. Zero: never. The session's mutex protects it.
type clock struct {
	authBy time.Time // the client must have brought a token
	ping   time.Time // the next heartbeat
	notice time.Time // the client is told that its token ends
	expire time.Time // the token ends
}

// next returns the earliest of these times, in ns since 1970.
func (c *clock) next() int64 {
	var earliest time.Time
	for _, t := range []time.Time{c.authBy, c.ping, c.notice, c.expire} {
		if !t.IsZero() && (earliest.IsZero() || t.Before(earliest)) {
			earliest = t
		}
	}
	return earliest.UnixNano()
}

// takeDue reports whether a time has come. If so, it is set to never.
func takeDue(t *time.Time, now time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

// startClock begins with the wait for a token, and heartbeats. The first ping is at a random
// moment, so that clients that came together do not stay together.
func (s *session) startClock(now time.Time) {
	interval := s.hub.cfg.HeartbeatInterval
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.authBy = now.Add(s.hub.cfg.AuthTimeout)
	s.clock.ping = now.Add(interval/2 + rand.N(interval/2+1)) //nolint:gosec // spread, not secrecy
	s.due.Store(s.clock.next())
}

// admit takes a checked token: the first one, or one that renews it.
func (s *session) admit(identity *Identity) error {
	if err := s.hub.clients.fileUnder(s, s.currentIdentity(), identity); err != nil {
		return err
	}
	s.setIdentity(identity)
	// Only now: a revocation that comes from here on finds the session by its identity.
	if s.hub.Revoked(identity) {
		return errRevoked
	}
	return nil
}

// setIdentity starts the clock of a token.
func (s *session) setIdentity(identity *Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // not before a revocation that did not find the identity
	s.identity = identity
	s.seen = now
	s.expiresAt = identity.ExpiresAt
	if !s.expiresAt.After(now) {
		s.expiresAt = now.Add(lateToken)
	}
	s.clock.authBy = time.Time{}
	s.clock.expire = s.expiresAt
	s.clock.notice = s.expiresAt.Add(-s.hub.cfg.ExpiryNotice)
	s.due.Store(s.clock.next())
}

// welcomeFrame tells the client that it is in, and until when.
func (s *session) welcomeFrame() []byte {
	s.mu.Lock()
	expiresAt := s.expiresAt
	s.mu.Unlock()
	return protocol.WelcomeFrame(s.id, s.hub.cfg.Gateway, s.hub.cfg.HeartbeatInterval, expiresAt)
}

// tick does what is due. It never waits.
func (s *session) tick(now time.Time) {
	s.mu.Lock()
	authLate := takeDue(&s.clock.authBy, now)
	expired := takeDue(&s.clock.expire, now)
	notice := takeDue(&s.clock.notice, now)
	ping := takeDue(&s.clock.ping, now)
	if ping {
		s.clock.ping = now.Add(s.hub.cfg.HeartbeatInterval)
	}
	expires := s.clock.expire
	s.due.Store(s.clock.next())
	s.mu.Unlock()
	switch {
	case authLate:
		s.hub.metrics.countLimit(limitAuthTimeout)
		s.transport.closeWith(protocol.CloseAuthTimeout, "")
		return
	case expired:
		s.transport.closeWith(protocol.CloseUnauthorized, "the token has expired")
		return
	case notice:
		s.notify(protocol.ExpiringFrame(expires))
	}
	if !ping {
		return
	}
	if !s.transport.wasHeard() {
		s.transport.closeWith(protocol.CloseAbnormal, "silent for two heartbeats")
		return
	}
	s.ping()
}
