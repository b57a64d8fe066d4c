package client

import (
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

// Position is a place in an account's history. Seq counts the account's events, and Chain identifies
// the history up to that event.
type Position struct {
	Seq   int64
	Chain string
}

// A sink is the receiving side of a subscription. Its methods are called with the client's mu held
// and must not block.
type sink interface {
	// start gets the first state of an account. balance is nil if the gateway sent none.
	start(account string, at Position, balance *Balance)
	// resume says that an account continues after an interruption, and that nothing is missing.
	resume(account string)
	// addEvent gets the account's next event. It returns false if there is no room: then the
	// subscription pauses, and the event comes again.
	addEvent(item Item) bool
	// addResync gets the state that replaces the account's. It returns false like addEvent.
	addResync(item Item) bool
	// interrupt says that the account's state may be old from now on.
	interrupt(at time.Time)
	// retry gets an error after which the client tries again.
	retry(err error)
	// fail ends the subscription.
	fail(err error)
}

// subscribeTimeout bounds the wait for the answer to a subscribe frame.
const subscribeTimeout = 30 * time.Second

// maxResumes is the number of attempts to resume without progress. After them the subscription
// begins with a snapshot, which the app gets as a resync.
const maxResumes = 3

// A subscription follows some accounts through any number of connections and names. Each time that
// it subscribes, it takes a new name, so that late frames of the last name are recognized. The
// client's mu protects it.
type subscription struct {
	client *Client
	filter Filter
	sink   sink

	positions map[string]Position // the newest that the sink has, by account
	paused    bool                // the sink has no room
	wasOpen   bool                // before, for all accounts

	name        string                       // on the present connection; empty: none
	isOpen      bool                         // the gateway has confirmed the name
	sentAfter   map[string]int64             // after of the newest subscribe frame
	owedResyncs map[string]subscribedAccount // a resync frame follows for these accounts

	retries  pauses
	failures int         // since the last progress
	timer    clock.Timer // of the next attempt or of the answer; nil: none
	waiting  bool        // for the next attempt
}

// addSubscription begins a subscription. The caller holds mu. The client must not be closed.
func (c *Client) addSubscription(filter Filter, to sink) *subscription {
	s := &subscription{
		client:    c,
		filter:    filter,
		sink:      to,
		positions: map[string]Position{},
	}
	for account, at := range filter.After {
		s.positions[account] = at
	}
	c.subs[s] = true
	s.open()
	return s
}

// open subscribes unless that has to wait. The caller holds mu.
func (s *subscription) open() {
	conn := s.client.conn
	isLive := conn != nil && !conn.liveSince.IsZero()
	if !isLive || s.paused || s.waiting || s.name != "" {
		return
	}
	s.client.lastSubName++
	s.name = strconv.Itoa(s.client.lastSubName)
	s.client.subsByName[s.name] = s
	s.setTimer(subscribeTimeout, s.endSlowSubscribe)
	conn.queueSubscribe(s)
}

// maxSubscribeSize is below the 16 KiB that a gateway accepts in one message.
const maxSubscribeSize = 15 << 10

// encodeSubscribe returns the frame that subscribes from where the sink is. Without any progress, and
// if the positions do not fit into a frame, it asks for snapshots, which the app gets as resyncs.
func (s *subscription) encodeSubscribe() []byte {
	f := subscribeFrame{
		Op:        "subscribe",
		Sub:       s.name,
		Accounts:  s.filter.Accounts,
		Types:     s.filter.Types,
		Reasons:   s.filter.Reasons,
		Features:  s.filter.Features,
		MinAmount: s.filter.MinAmount,
	}
	if s.failures <= maxResumes {
		f.setPositions(s.positions)
	}
	frame := encodeFrame(f)
	if len(frame) > maxSubscribeSize {
		f.setPositions(nil)
		frame = encodeFrame(f)
	}
	s.sentAfter = f.After
	return frame
}

// leave gives the name on the present connection up. The caller holds mu.
func (s *subscription) leave() {
	s.stopTimer()
	if s.name == "" {
		return
	}
	name := s.name
	s.forgetName()
	conn := s.client.conn
	if conn != nil && !conn.cancelSubscribe(s) {
		conn.queueFrame(encodeNamedFrame("unsubscribe", name))
	}
}

// forgetName gives the name up without telling the gateway, which does not know it any more.
func (s *subscription) forgetName() {
	delete(s.client.subsByName, s.name)
	s.name = ""
	s.isOpen = false
	s.owedResyncs = nil
}

// disconnect is called when the connection is lost. The caller holds mu.
func (s *subscription) disconnect(now time.Time) {
	s.stopTimer()
	s.forgetName()
	s.sink.interrupt(now)
}

// remove ends the subscription. The caller holds mu.
func (s *subscription) remove() {
	if !s.client.subs[s] {
		return
	}
	s.leave()
	delete(s.client.subs, s)
}

// fail ends the subscription with an error. The caller holds mu.
func (s *subscription) fail(err error) {
	s.remove()
	s.sink.fail(err)
}

// pause stops the subscription until the sink has room. The caller holds mu.
func (s *subscription) pause() {
	s.paused = true
	s.leave()
}

// unpause continues a subscription whose sink has room again. The caller holds mu.
func (s *subscription) unpause() {
	if !s.paused || !s.client.subs[s] {
		return
	}
	s.paused = false
	s.open()
}

// resubscribe subscribes again from where the sink is: at once after some progress, and otherwise
// after a pause that grows. The caller holds mu.
func (s *subscription) resubscribe(why string) {
	s.client.cfg.Logger.Info("subscribing again", "subscription", s.filter.Accounts, "reason", why)
	s.leave()
	s.failures++
	if s.failures == 1 {
		s.open()
		return
	}
	s.openLater()
}

// openLater subscribes after a pause. The caller holds mu.
func (s *subscription) openLater() {
	s.waiting = true
	s.setTimer(s.retries.next(s.client.cfg.clock.Now()), func() {
		c := s.client
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.waiting && c.subs[s] {
			s.waiting = false
			s.open()
		}
	})
}

// endSlowSubscribe subscribes again if the gateway has not answered.
func (s *subscription) endSlowSubscribe() {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[s] && s.name != "" && !s.isOpen {
		s.failures++ // not at once
		s.resubscribe("the gateway did not answer within " + subscribeTimeout.String())
	}
}

// noteProgress ends a series of failures.
func (s *subscription) noteProgress() {
	s.failures = 0
	s.retries.reset()
}

func (s *subscription) setTimer(d time.Duration, f func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = s.client.cfg.clock.AfterFunc(d, f)
}

func (s *subscription) stopTimer() {
	s.waiting = false
	if s.timer != nil {
		s.timer.Stop()
	}
}

// handleFrame handles a frame of the subscription's present name. The caller holds mu.
func (s *subscription) handleFrame(f *serverFrame) {
	switch {
	case f.Op == "subscribed":
		s.handleSubscribed(f)
	case f.Op == "unsubscribed":
		s.forgetName()
		s.resubscribe("the gateway ended the subscription")
	case !s.isOpen:
		s.resubscribe("the gateway sent an event before the frame subscribed")
	case f.Op == "event":
		s.handleEvent(f)
	case f.Op == "resync":
		s.handleResync(f)
	}
}

// handleError handles an error frame. The caller holds mu.
func (s *subscription) handleError(f *serverFrame) {
	err := &Error{Code: f.Code, Message: f.Message}
	switch f.Code {
	case ErrUnavailableBalance, codeDuplicate:
		s.stopTimer()
		s.forgetName()
		s.client.cfg.Logger.Warn("a subscription is not possible at the moment; the client tries again", "error", err)
		s.sink.retry(err)
		s.openLater()
	case codeUnknownSubscription:
	case ErrBadRequest:
		s.handleBadRequest(err)
	default:
		s.forgetName()
		s.fail(err)
	}
}

// handleBadRequest ends the subscription. Only if it resumes the accounts of the token, the reason
// may be that a new token has other accounts: then it begins with a snapshot.
func (s *subscription) handleBadRequest(err *Error) {
	s.forgetName()
	mayHaveOtherAccounts := len(s.filter.Accounts) == 0 && len(s.sentAfter) > 0
	if !mayHaveOtherAccounts {
		s.fail(err)
		return
	}
	s.failures = maxResumes + 1
	s.openLater()
}
