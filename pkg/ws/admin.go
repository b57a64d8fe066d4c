package ws

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Stats counts the contents of a hub at one moment.
type Stats struct {
	Connections   int  `json:"connections"`
	Subscriptions int  `json:"subscriptions"`
	Accounts      int  `json:"accounts"`     // with at least one subscription
	MemoryEvents  int  `json:"memoryEvents"` // kept for resume
	MemoryBytes   int  `json:"memoryBytes"`  // an estimate
	Draining      bool `json:"draining"`
}

// Stats returns the current counts. It visits every client, so it is not for frequent use.
func (h *Hub) Stats() Stats {
	stats := Stats{Draining: h.clients.isClosed()}
	for _, s := range h.clients.listSessions("") {
		stats.Connections++
		s.mu.Lock()
		stats.Subscriptions += len(s.subs)
		s.mu.Unlock()
	}

	feeds := h.feeds.Stats()
	stats.Accounts = feeds.Accounts
	stats.MemoryEvents = feeds.MemoryEvents
	stats.MemoryBytes = feeds.MemoryBytes

	return stats
}

// ConnectionInfo describes one connection to an administrator.
type ConnectionInfo struct {
	ID            string    `json:"connection"`
	Subject       string    `json:"subject"`
	Accounts      []string  `json:"accounts"`
	Remote        string    `json:"remote"`
	Transport     string    `json:"transport"` // websocket or sse
	ConnectedAt   time.Time `json:"connectedAt"`
	ExpiresAt     time.Time `json:"expiresAt,omitzero"` // zero: not authenticated yet
	Subscriptions []string  `json:"subscriptions"`
	QueuedFrames  int       `json:"queuedFrames"`
	QueuedBytes   int       `json:"queuedBytes"`
}

// Connections lists the connections whose token names the account, or all connections when account
// is empty. It returns at most limit connections, and their total number.
func (h *Hub) Connections(account string, limit int) (infos []ConnectionInfo, total int) {
	sessions := h.clients.listSessions(account)
	n := min(limit, len(sessions))
	infos = make([]ConnectionInfo, 0, n)
	for _, s := range sessions[:n] {
		infos = append(infos, s.connectionInfo())
	}

	return infos, len(sessions)
}

// connectionInfo describes the connection of the session.
func (s *session) connectionInfo() ConnectionInfo {
	info := ConnectionInfo{
		ID:            s.ID,
		Accounts:      []string{},
		Remote:        s.remote,
		Transport:     s.transport.kindName(),
		ConnectedAt:   s.connectedAt,
		Subscriptions: []string{},
	}

	info.QueuedFrames, info.QueuedBytes = s.Queue.Waiting()

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.identity != nil {
		info.Subject = s.identity.Subject
		info.Accounts = append(info.Accounts, s.identity.Accounts...)
		info.ExpiresAt = s.expiresAt
	}

	for _, sub := range s.subs {
		info.Subscriptions = append(info.Subscriptions, sub.Name)
	}

	return info
}

// Disconnect closes connections with 4410: the connections whose token names the account, if
// account is not empty, and the connection with the id, if connection is not empty. The close frame
// contains the reason. Disconnect returns the number of connections.
func (h *Hub) Disconnect(account, connection, reason string) int {
	var sessions []*session
	if account != "" {
		sessions = h.clients.listSessions(account)
	}

	s := h.clients.findSession(connection)
	if s != nil {
		sessions = append(sessions, s)
	}

	for _, s := range sessions {
		s.transport.CloseWith(protocol.CloseDisconnected, reason)
	}

	return len(sessions)
}

// reconnectSpacing is the maximum average time between two reconnections after a drain.
const reconnectSpacing = 20 * time.Millisecond

// Drain admits no more clients, tells each client when to reconnect, and closes all connections
// with 1012. The reconnections are spread evenly over the window, or over a shorter time when there
// are few clients. Drain returns when all connections are closed. If ctx ends before that, Drain
// closes the remaining connections without a handshake.
func (h *Hub) Drain(ctx context.Context, window time.Duration) {
	h.clients.stopAdmission()
	sessions := h.clients.listSessions("")
	rand.Shuffle(len(sessions), func(i, j int) {
		sessions[i], sessions[j] = sessions[j], sessions[i]
	})

	window = min(max(window, 0), time.Duration(len(sessions))*reconnectSpacing)
	for i, s := range sessions {
		delay := window * time.Duration(i+1) / time.Duration(len(sessions))
		s.sendNotice(protocol.ReconnectFrame(delay))
		s.transport.CloseWith(protocol.CloseRestart, "")
	}

	h.awaitEmpty(ctx)
}
