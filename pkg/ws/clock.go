package ws

import (
	"math/rand/v2"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// tickInterval is how often the hub looks whose time has come. One look at all
// clients costs less than a timer for each.
const tickInterval = 200 * time.Millisecond

// lateToken is how long a connection lasts whose token had expired when it came
// and was accepted all the same, because clocks differ.
const lateToken = 30 * time.Second

// clock is what a session has to do at what time. Zero: never. The session's
// mutex protects it.
type clock struct {
	authBy, ping, notice, expire time.Time
}

func (c *clock) next() int64 {
	var due time.Time
	for _, t := range []time.Time{c.authBy, c.ping, c.notice, c.expire} {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	return due.UnixNano()
}

// startClock begins with the wait for a token, and heartbeats. The first ping is
// at a random moment, so that those who came together do not stay together.
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
	s.mu.Lock()
	old := s.identity
	s.mu.Unlock()
	if err := s.hub.clients.name(s, old, identity); err != nil {
		return err
	}
	s.renew(identity)
	// Only now: a revocation that comes from here on finds the session by its identity.
	if s.hub.Revoked(identity) {
		return errRevoked
	}
	return nil
}

// renew starts the clock of a token.
func (s *session) renew(identity *Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // not before a revocation that did not find the identity
	s.identity, s.seen = identity, now
	s.clock.authBy = time.Time{}
	s.expiresAt = identity.ExpiresAt
	if !s.expiresAt.After(now) {
		s.expiresAt = now.Add(lateToken)
	}
	s.clock.expire = s.expiresAt
	s.clock.notice = s.clock.expire.Add(-s.hub.cfg.ExpiryNotice)
	s.due.Store(s.clock.next())
}

// welcomed is the frame that says so.
func (s *session) welcomed() []byte {
	s.mu.Lock()
	expiresAt := s.expiresAt
	s.mu.Unlock()
	return protocol.WelcomeFrame(s.id, s.hub.cfg.Gateway, s.hub.cfg.HeartbeatInterval, expiresAt)
}

// tick does what is due. It never waits.
func (s *session) tick(now time.Time) {
	s.mu.Lock()
	c := &s.clock
	due := func(t *time.Time) bool {
		if t.IsZero() || now.Before(*t) {
			return false
		}
		*t = time.Time{}
		return true
	}
	late, expired, notice, ping := due(&c.authBy), due(&c.expire), due(&c.notice), due(&c.ping)
	if ping {
		c.ping = now.Add(s.hub.cfg.HeartbeatInterval)
	}
	expires := c.expire
	s.due.Store(c.next())
	s.mu.Unlock()
	switch {
	case late:
		s.hub.metrics.limit(limitAuthTimeout)
		s.transport.closeWith(protocol.CloseAuthTimeout, "")
		return
	case expired:
		s.transport.closeWith(protocol.CloseUnauthorized, "the token has expired")
		return
	case notice:
		s.notify(item{frame: protocol.ExpiringFrame(expires)})
	}
	if !ping {
		return
	}
	if !s.transport.alive() {
		s.transport.closeWith(protocol.CloseAbnormal, "silent for two heartbeats")
		return
	}
	s.notify(item{}) // a ping
}
