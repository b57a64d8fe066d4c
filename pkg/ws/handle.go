package ws

import (
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
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
func (c *conn) handle(f *protocol.ClientFrame, refused *protocol.Refusal) bool {
	cfg := &c.session.hub.cfg
	if !c.frames.take(time.Now(), cfg.FrameRate, cfg.FrameBurst) {
		c.session.hub.metrics.limit(limitFrameRate)
		c.closeWith(protocol.CloseRateLimited, "too many frames")
		return false
	}
	if refused != nil {
		return c.refuse(f.Sub, refused)
	}
	c.session.mu.Lock()
	known := c.session.identity != nil
	c.session.mu.Unlock()
	if f.Op != protocol.OpAuth && !known {
		c.closeWith(protocol.CloseUnauthorized, "the first frame was not auth")
		return false
	}
	switch f.Op {
	case protocol.OpAuth:
		return c.auth(f)
	case protocol.OpSubscribe:
		refused = c.session.subscribe(f)
	case protocol.OpUnsubscribe:
		if f.Sub == nil {
			refused = protocol.Refuse(protocol.CodeBadRequest, "sub is missing")
		} else {
			refused = c.session.unsubscribe(*f.Sub)
		}
	case protocol.OpPing:
		c.session.reply(protocol.PongFrame)
	}
	if refused != nil {
		return c.refuse(f.Sub, refused)
	}
	return true
}

// refuse answers with an error frame, or ends the connection of a client that does
// not speak the protocol.
func (c *conn) refuse(sub *string, r *protocol.Refusal) bool {
	if r.Malformed {
		if c.bad++; c.bad >= c.session.hub.cfg.MaxBadFrames {
			c.session.hub.metrics.limit(limitBadFrames)
			c.closeWith(protocol.CloseBadRequest, r.Message)
			return false
		}
	}
	if sub != nil && len(*sub) > maxSubName {
		sub = nil // not worth repeating
	}
	c.session.reply(protocol.ErrorFrame(sub, r))
	return true
}

// auth takes the first token or one that renews it.
func (c *conn) auth(f *protocol.ClientFrame) bool {
	s := c.session
	token := ""
	if f.Token != nil {
		token = *f.Token
	}
	identity, err := c.authenticator.Authenticate(s.hub.base, token)
	if err != nil {
		refused := asAuthError(err)
		if refused.RetryAfter > 0 {
			c.closeWith(protocol.CloseInternal, refused.Reason) // for the client: come back after a pause
			return false
		}
		s.hub.metrics.authFailures.Inc()
		c.closeWith(protocol.CloseUnauthorized, refused.Reason)
		return false
	}
	s.mu.Lock()
	old := s.identity
	s.mu.Unlock()
	if old != nil && old.Subject != identity.Subject {
		return c.refuse(f.Sub, protocol.Refuse(protocol.CodeForbidden, "a token renews one of the same sub only"))
	}
	return c.welcome(identity)
}

// welcome lets the client in, or renews its stay: subscriptions that the new token
// does not cover end.
func (c *conn) welcome(identity *Identity) bool {
	s := c.session
	switch err := s.admit(identity); {
	case errors.Is(err, errRevoked):
		c.closeWith(protocol.CloseForbidden, err.Error())
		return false
	case err != nil:
		s.hub.metrics.limit(limitAccountConnections)
		c.closeWith(protocol.CloseRateLimited, err.Error())
		return false
	}
	s.reply(s.welcomed())
	for _, sub := range s.uncovered(identity) {
		s.reply(protocol.ErrorFrame(&sub.name, protocol.Refuse(protocol.CodeForbidden, "the new token does not cover this subscription")))
		s.unsubscribe(sub.name)
	}
	return true
}

// uncovered lists the subscriptions that a token does not allow.
func (s *session) uncovered(identity *Identity) []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*subscription
	for _, sub := range s.subs {
		allowed := !sub.allAccounts || identity.AllAccounts
		for _, f := range sub.feeds {
			allowed = allowed && identity.maySee(f.topic.account)
		}
		if !allowed {
			list = append(list, sub)
		}
	}
	return list
}
