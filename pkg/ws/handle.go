package ws

import (
	"errors"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// bucket is a token bucket for the frames of one client.
type bucket struct {
	left float64
	last time.Time
}

func (b *bucket) take(now time.Time, perSecond, burst int) bool {
	if b.last.IsZero() {
		b.left = float64(burst)
	} else {
		b.left = min(float64(burst), b.left+now.Sub(b.last).Seconds()*float64(perSecond))
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// handle does what a client frame asks for, or answers the one that was refused. It is
// false when the connection ends.
func (c *conn) handle(f *clientFrame, refused *refusal) bool {
	cfg := &c.session.hub.cfg
	if !c.frames.take(time.Now(), cfg.FrameRate, cfg.FrameBurst) {
		c.session.hub.metrics.limit(limitFrameRate)
		c.shut(closeRateLimited, "too many frames")
		return false
	}
	if refused != nil {
		return c.refuse(f.Sub, refused)
	}
	c.session.mu.Lock()
	known := c.session.claims != nil
	c.session.mu.Unlock()
	if f.Op != opAuth && !known {
		c.shut(closeUnauthorized, "the first frame was not auth")
		return false
	}
	switch f.Op {
	case opAuth:
		return c.auth(f)
	case opSubscribe:
		refused = c.session.subscribe(f)
	case opUnsubscribe:
		if f.Sub == nil {
			refused = refuse(codeBadRequest, "sub is missing")
		} else {
			refused = c.session.unsubscribe(*f.Sub)
		}
	case opPing:
		c.session.reply(pongFrame)
	}
	if refused != nil {
		return c.refuse(f.Sub, refused)
	}
	return true
}

// refuse answers with an error frame, or ends the connection of a client that does
// not speak the protocol.
func (c *conn) refuse(sub *string, r *refusal) bool {
	if r.malformed {
		if c.bad++; c.bad >= c.session.hub.cfg.MaxBadFrames {
			c.session.hub.metrics.limit(limitBadFrames)
			c.shut(closeBadRequest, r.message)
			return false
		}
	}
	if sub != nil && len(*sub) > maxSubName {
		sub = nil // not worth repeating
	}
	c.session.reply(errorFrame(sub, r))
	return true
}

// auth takes the first token or one that renews it.
func (c *conn) auth(f *clientFrame) bool {
	s := c.session
	raw := ""
	if f.Token != nil {
		raw = *f.Token
	}
	claims, err := c.verifier.Verify(s.hub.base, raw)
	if errors.Is(err, auth.ErrUnavailable) {
		c.shut(closeInternal, auth.Reason(err)) // for the client: come back after a pause
		return false
	}
	if err != nil {
		s.hub.metrics.authFailures.Inc()
		c.shut(closeUnauthorized, auth.Reason(err))
		return false
	}
	s.mu.Lock()
	old := s.claims
	s.mu.Unlock()
	if old != nil && old.Subject != claims.Subject {
		return c.refuse(f.Sub, refuse(codeForbidden, "a token renews one of the same sub only"))
	}
	return c.welcome(claims)
}

// welcome lets the client in, or renews its stay: subscriptions that the new token
// does not cover end.
func (c *conn) welcome(claims *auth.Claims) bool {
	s := c.session
	switch err := s.admit(claims); {
	case errors.Is(err, errRevoked):
		c.shut(closeForbidden, err.Error())
		return false
	case err != nil:
		s.hub.metrics.limit(limitAccountConnections)
		c.shut(closeRateLimited, err.Error())
		return false
	}
	s.reply(s.welcomed())
	for _, sub := range s.uncovered(claims) {
		s.reply(errorFrame(&sub.name, refuse(codeForbidden, "the new token does not cover this subscription")))
		s.unsubscribe(sub.name)
	}
	return true
}

// uncovered lists the subscriptions that a token does not allow.
func (s *session) uncovered(claims *auth.Claims) []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*subscription
	for _, sub := range s.subs {
		allowed := !sub.wild || claims.Has(auth.ScopeEvents)
		for _, f := range sub.feeds {
			allowed = allowed && claims.MaySee(f.topic.account)
		}
		if !allowed {
			list = append(list, sub)
		}
	}
	return list
}
