package ws

import (
	"math/rand/v2"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// tickInterval is the interval at which the hub checks the deadlines of all clients. One check of
// all clients costs less than a timer for each client.
const tickInterval = 200 * time.Millisecond

// expiredTokenLifetime is the lifetime of a connection whose token had already expired when it was
// accepted. The authenticator may accept such a token because clocks differ.
const expiredTokenLifetime = 30 * time.Second

// A clock has the deadlines of a session. A zero time means never. The session's mutex protects it.
type clock struct {
	authBy time.Time // the client must have sent a token
	ping   time.Time // the next heartbeat
	notice time.Time // the token_expiring frame; sent once for each token
	expire time.Time // the token expires
}

// earliestDeadline returns the earliest deadline, in ns since 1970.
func (c *clock) earliestDeadline() int64 {
	var earliest time.Time
	for _, t := range []time.Time{c.authBy, c.ping, c.notice, c.expire} {
		if t.IsZero() {
			continue
		}
		if earliest.IsZero() || t.Before(earliest) {
			earliest = t
		}
	}

	return earliest.UnixNano()
}

// clearIfDue reports whether the deadline has passed, and clears it in that case.
func clearIfDue(deadline *time.Time, now time.Time) bool {
	if deadline.IsZero() || now.Before(*deadline) {
		return false
	}

	*deadline = time.Time{}
	return true
}

// startClock sets the deadline for a token and the first heartbeat. The first heartbeat is at a
// random time, so that the heartbeats of clients that connected together are spread.
func (s *session) startClock(now time.Time) {
	interval := s.hub.cfg.HeartbeatInterval
	firstPing := interval/2 + rand.N(interval/2+1) //nolint:gosec // not for security
	s.mu.Lock()
	defer s.mu.Unlock()

	s.clock.authBy = now.Add(s.hub.cfg.AuthTimeout)
	s.clock.ping = now.Add(firstPing)
	s.due.Store(s.clock.earliestDeadline())
}

// admitIdentity sets the identity of a checked token, which is the first token or renews it.
func (s *session) admitIdentity(identity *Identity) error {
	err := s.hub.clients.indexAccounts(s, s.currentIdentity(), identity)
	if err != nil {
		return err
	}

	s.setIdentity(identity)

	// This check must come last. A revocation that arrives after it finds the session by its
	// identity.
	if s.hub.Revoked(identity) {
		return errRevoked
	}

	return nil
}

// setIdentity sets the identity and the deadlines of its token.
func (s *session) setIdentity(identity *Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()

	now := time.Now() // not earlier than a revocation that did not find this identity
	s.identity = identity
	s.identitySetAt = now
	s.expiresAt = identity.ExpiresAt
	if !s.expiresAt.After(now) {
		s.expiresAt = now.Add(expiredTokenLifetime)
	}

	s.clock.authBy = time.Time{}
	s.clock.expire = s.expiresAt
	s.clock.notice = noticeTime(now, s.expiresAt, s.hub.cfg.ExpiryNotice)
	s.due.Store(s.clock.earliestDeadline())
}

// noticeTime returns the time of the token_expiring frame for a token that was accepted at now. It
// is notice before the token expires. When the token lasts for less than twice as long, it is half
// of that time before. So a client that renews on each token_expiring frame never does so at once,
// however short its tokens last.
func noticeTime(now, expires time.Time, notice time.Duration) time.Time {
	remaining := expires.Sub(now)
	return expires.Add(-min(notice, remaining/2))
}

// welcomeFrame returns the frame that tells the client that it is authenticated.
func (s *session) welcomeFrame() []byte {
	s.mu.Lock()
	expiresAt := s.expiresAt
	s.mu.Unlock()
	cfg := &s.hub.cfg

	return protocol.WelcomeFrame(s.ID, cfg.Gateway, cfg.HeartbeatInterval, expiresAt)
}

// handleTick handles the deadlines that have passed. It never waits.
func (s *session) handleTick(now time.Time) {
	s.mu.Lock()
	authTimedOut := clearIfDue(&s.clock.authBy, now)
	expired := clearIfDue(&s.clock.expire, now)
	notifyExpiry := clearIfDue(&s.clock.notice, now)
	pingDue := clearIfDue(&s.clock.ping, now)
	if pingDue {
		s.clock.ping = now.Add(s.hub.cfg.HeartbeatInterval)
	}

	expires := s.clock.expire
	s.due.Store(s.clock.earliestDeadline())
	s.mu.Unlock()

	switch {
	case authTimedOut:
		s.hub.metrics.CountLimit(metrics.LimitAuthTimeout)
		s.transport.CloseWith(protocol.CloseAuthTimeout, "")
		return
	case expired:
		s.transport.CloseWith(protocol.CloseUnauthorized, "the token has expired")
		return
	case notifyExpiry:
		s.sendNotice(protocol.ExpiringFrame(expires))
	}

	if !pingDue {
		return
	}

	if !s.transport.wasActive() {
		s.transport.CloseWith(protocol.CloseAbnormal, "no data for two heartbeats")
		return
	}

	s.sendPing()
}
