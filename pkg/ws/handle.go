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

// take takes one token. It is false when there is none.
func (b *bucket) take(now time.Time, perSecond, burst int) bool {
	if b.last.IsZero() {
		b.left = float64(burst)
	} else {
		refill := now.Sub(b.last).Seconds() * float64(perSecond)
		b.left = min(float64(burst), b.left+refill)
	}
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// handleFrame does what a client frame asks for, or answers one that was refused. It is false when
// the connection ends.
func (c *conn) handleFrame(f *protocol.ClientFrame, refused *protocol.Refusal) bool {
	if !c.takeFrame() {
		c.closeWith(protocol.CloseRateLimited, "too many frames")
		return false
	}
	if refused != nil {
		return c.refuseFrame(f.Sub, refused)
	}
	if f.Op != protocol.OpAuth && c.session.currentIdentity() == nil {
		c.closeWith(protocol.CloseUnauthorized, "the first frame was not auth")
		return false
	}
	switch f.Op {
	case protocol.OpAuth:
		return c.authenticate(f)
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
		return c.refuseFrame(f.Sub, refused)
	}
	return true
}

// refuseFrame answers with an error frame, or ends the connection of a client that does not speak
// the protocol.
func (c *conn) refuseFrame(sub *string, r *protocol.Refusal) bool {
	if r.Malformed {
		c.badFrames++
		if c.badFrames >= c.session.hub.cfg.MaxBadFrames {
			c.session.hub.metrics.countLimit(limitBadFrames)
			c.closeWith(protocol.CloseBadRequest, r.Message)
			return false
		}
	}
	if sub != nil && len(*sub) > maxSubName {
		sub = nil // too long to be repeated
	}
	c.session.reply(protocol.ErrorFrame(sub, r))
	return true
}

// authenticate takes the first token or one that renews it.
func (c *conn) authenticate(f *protocol.ClientFrame) bool {
	s := c.session
	token := ""
	if f.Token != nil {
		token = *f.Token
	}
	identity, err := c.authenticator.Authenticate(s.hub.base, token)
	if err != nil {
		refused := asAuthError(err)
		if refused.RetryAfter > 0 {
			c.closeWith(protocol.CloseInternal, refused.Reason) // asks the client to come back after a pause
			return false
		}
		s.hub.metrics.authFailures.Inc()
		c.closeWith(protocol.CloseUnauthorized, refused.Reason)
		return false
	}
	old := s.currentIdentity()
	if old != nil && old.Subject != identity.Subject {
		return c.refuseFrame(f.Sub, protocol.Refuse(protocol.CodeForbidden, "a token renews one of the same sub only"))
	}
	return c.welcome(identity)
}

// welcome lets the client in, or renews its stay. Subscriptions that the new token does not cover
// end.
func (c *conn) welcome(identity *Identity) bool {
	s := c.session
	err := s.admit(identity)
	switch {
	case errors.Is(err, errRevoked):
		c.closeWith(protocol.CloseForbidden, err.Error())
		return false
	case err != nil:
		s.hub.metrics.countLimit(limitAccountConnections)
		c.closeWith(protocol.CloseRateLimited, err.Error())
		return false
	}
	s.reply(s.welcomeFrame())
	notCovered := protocol.Refuse(protocol.CodeForbidden, "the new token does not cover this subscription")
	for _, sub := range s.uncoveredSubs(identity) {
		s.reply(protocol.ErrorFrame(&sub.name, notCovered))
		s.unsubscribe(sub.name)
	}
	return true
}

// uncoveredSubs lists the subscriptions that a token does not allow.
func (s *session) uncoveredSubs(identity *Identity) []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*subscription
	for _, sub := range s.subs {
		if !sub.allowedFor(identity) {
			list = append(list, sub)
		}
	}
	return list
}

// allowedFor reports whether the client may see all that the subscription shows.
func (sub *subscription) allowedFor(identity *Identity) bool {
	if sub.allAccounts {
		return identity.AllAccounts
	}
	for _, f := range sub.feeds {
		if !identity.maySee(f.topic.account) {
			return false
		}
	}
	return true
}
