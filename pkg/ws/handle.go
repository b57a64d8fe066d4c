package ws

import (
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A frameBucket is a token bucket for the frames of one client.
type frameBucket struct {
	tokens float64
	last   time.Time
}

// takeToken takes one token. It returns false when there is none.
func (b *frameBucket) takeToken(now time.Time, perSecond, burst int) bool {
	if b.last.IsZero() {
		b.tokens = float64(burst)
	} else {
		refill := now.Sub(b.last).Seconds() * float64(perSecond)
		b.tokens = min(float64(burst), b.tokens+refill)
	}

	b.last = now

	if b.tokens < 1 {
		return false
	}

	b.tokens--
	return true
}

// authFirst is the reason for closing the connection of a client that sends anything else before it
// has authenticated.
const authFirst = "the first frame must be auth"

// handleFirstFrame authenticates the client with the first frame of its first message. It returns
// the rest of the message. open is false when the connection ends.
func (c *conn) handleFirstFrame(isText bool, message []byte) (rest []byte, open bool) {
	if !c.admitFrame() {
		c.CloseWith(protocol.CloseRateLimited, "too many frames")
		return nil, false
	}

	token, rest, isAuth := protocol.ParseAuthFrame(message)
	if !isText || !isAuth {
		c.CloseWith(protocol.CloseUnauthorized, authFirst)
		return nil, false
	}

	return rest, c.handleAuth(token)
}

// handleFrame handles a frame of a client that has authenticated, or answers a frame that was refused. It returns false when
// the connection ends.
func (c *conn) handleFrame(f *protocol.ClientFrame, refused *protocol.Refusal) bool {
	if !c.admitFrame() {
		c.CloseWith(protocol.CloseRateLimited, "too many frames")
		return false
	}

	if refused != nil {
		return c.refuseFrame(f.Sub, refused)
	}

	switch f.Op {
	case protocol.OpAuth:
		if f.Token == nil {
			return c.handleAuth("")
		}

		return c.handleAuth(*f.Token)
	case protocol.OpSubscribe:
		refused = c.session.handleSubscribe(f)
	case protocol.OpUnsubscribe:
		if f.Sub == nil {
			refused = protocol.Refuse(protocol.CodeBadRequest, "sub is required")
		} else {
			refused = c.session.handleUnsubscribe(*f.Sub)
		}
	case protocol.OpPing:
		c.session.sendReply(protocol.PongFrame)
	}

	if refused != nil {
		return c.refuseFrame(f.Sub, refused)
	}

	return true
}

// refuseFrame answers with an error frame. It closes the connection of a client that has sent too
// many malformed frames, and then returns false.
func (c *conn) refuseFrame(sub *string, r *protocol.Refusal) bool {
	if r.Malformed {
		c.badFrames++
		if c.badFrames >= c.session.hub.cfg.MaxBadFrames {
			c.session.hub.metrics.CountLimit(metrics.LimitBadFrames)
			c.CloseWith(protocol.CloseBadRequest, r.Message)
			return false
		}
	}

	if sub != nil && len(*sub) > request.MaxNameBytes {
		sub = nil // do not repeat a name that is too long
	}

	c.session.sendReply(protocol.ErrorFrame(sub, r))
	return true
}

// handleAuth handles the first token or a token that renews it. It returns false when the
// connection ends.
func (c *conn) handleAuth(token string) bool {
	s := c.session
	identity, err := c.authenticator.Authenticate(s.hub.baseCtx, token)
	if err != nil {
		refused := asAuthError(err)
		if refused.RetryAfter > 0 {
			// This code asks the client to reconnect after a pause.
			c.CloseWith(protocol.CloseInternal, refused.Reason)
			return false
		}

		s.hub.metrics.AuthFailures.Inc()
		c.CloseWith(protocol.CloseUnauthorized, refused.Reason)
		return false
	}

	old := s.currentIdentity()
	if old != nil && old.Subject != identity.Subject {
		otherSubject := protocol.Refuse(protocol.CodeForbidden, "the new token must have the same sub")
		return c.refuseFrame(nil, otherSubject)
	}

	return c.welcomeClient(identity)
}

// welcomeClient sets the identity of the client and sends the welcome frame. It ends subscriptions
// that a renewed token does not cover. It returns false when the connection ends.
func (c *conn) welcomeClient(identity *Identity) bool {
	s := c.session
	err := s.admitIdentity(identity)
	switch {
	case errors.Is(err, errRevoked):
		c.CloseWith(protocol.CloseForbidden, err.Error())
		return false
	case err != nil:
		s.hub.metrics.CountLimit(metrics.LimitAccountConnections)
		c.CloseWith(protocol.CloseRateLimited, err.Error())
		return false
	}

	s.sendReply(s.welcomeFrame())
	notCovered := protocol.Refuse(protocol.CodeForbidden, "the new token must cover the accounts")
	for _, sub := range s.uncoveredSubs(identity) {
		s.sendReply(protocol.ErrorFrame(&sub.Name, notCovered))
		s.handleUnsubscribe(sub.Name)
	}

	return true
}

// uncoveredSubs lists the subscriptions that the identity does not cover.
func (s *session) uncoveredSubs(identity *Identity) []*feed.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()

	var list []*feed.Subscription
	for _, sub := range s.subs {
		if !sub.IsCoveredBy(identity.tokenScope()) {
			list = append(list, sub)
		}
	}

	return list
}
