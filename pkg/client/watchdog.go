package client

import "time"

const (
	// silenceMargin is the time after a missing heartbeat at which the client asks for a sign.
	silenceMargin = 10 * time.Second
	// pongTimeout is the time that the gateway has for this sign.
	pongTimeout = 5 * time.Second
	// watchInterval is the longest time between two checks. The checks compare the wall clock, so
	// that a computer's sleep is noticed soon after its end.
	watchInterval = 5 * time.Second
)

// setWatchdog replaces the next check. The caller holds mu.
func (conn *connection) setWatchdog(d time.Duration, check func()) {
	if conn.watchdog != nil {
		conn.watchdog.Stop()
	}
	conn.watchdog = conn.client.cfg.clock.AfterFunc(d, check)
}

// endSlowHandshake ends a connection that does not become live in time.
func (conn *connection) endSlowHandshake() {
	conn.endSilent("the gateway must answer within " + connectTimeout.String() + "; check the URL and the network")
}

// endSilent ends a connection that is silent.
func (conn *connection) endSilent(message string) {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		conn.cancel() // nobody would answer a closing handshake
		c.replaceConnection(0, &Error{Code: ErrTimeout, Message: message})
	}
}

// noteLife notes that the gateway was heard. WebSocket pings do not count: a browser does not show
// them, and all clients shall notice a dead network in the same way. The caller holds mu.
func (conn *connection) noteLife() {
	conn.lastFrame = conn.client.cfg.clock.Now()
	if conn.pinged {
		conn.pinged = false
		conn.watchSilence()
	}
}

// watchSilence sets the next check of a live connection. The caller holds mu.
func (conn *connection) watchSilence() {
	left := conn.heartbeat + silenceMargin - conn.client.cfg.clock.Now().Sub(conn.lastFrame)
	conn.setWatchdog(min(left, watchInterval), conn.checkSilence)
}

// checkSilence asks a silent gateway for a sign.
func (conn *connection) checkSilence() {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return
	}
	silent := c.cfg.clock.Now().Sub(conn.lastFrame)
	if silent < conn.heartbeat+silenceMargin {
		conn.watchSilence()
		return
	}
	conn.pinged = true
	conn.queueFirst(pingFrame)
	conn.setWatchdog(pongTimeout, conn.endUnanswered)
}

// endUnanswered ends a connection whose ping was not answered.
func (conn *connection) endUnanswered() {
	conn.endSilent("the gateway did not answer a ping within " + pongTimeout.String())
}
