package ws

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Stats counts what a hub holds at one moment.
type Stats struct {
	Connections   int  `json:"connections"`
	Subscriptions int  `json:"subscriptions"`
	Accounts      int  `json:"accounts"`     // with at least one subscription
	MemoryEvents  int  `json:"memoryEvents"` // kept for resume
	MemoryBytes   int  `json:"memoryBytes"`  // roughly
	Draining      bool `json:"draining"`
}

// Stats counts what the hub holds. It visits every client: not for hot paths.
func (h *Hub) Stats() Stats {
	stats := Stats{Draining: h.clients.isClosed()}
	for _, s := range h.clients.list("") {
		stats.Connections++
		s.mu.Lock()
		stats.Subscriptions += len(s.subs)
		s.mu.Unlock()
	}
	for i := range h.shards {
		s := &h.shards[i]
		stats.Accounts += len(s.subscribedTopics())
		s.mu.Lock()
		stats.MemoryEvents += s.memory.Len()
		stats.MemoryBytes += s.memory.Bytes()
		s.mu.Unlock()
	}
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
	ExpiresAt     time.Time `json:"expiresAt,omitzero"` // zero: no token has come yet
	Subscriptions []string  `json:"subscriptions"`
	QueuedFrames  int       `json:"queuedFrames"`
	QueuedBytes   int       `json:"queuedBytes"`
}

// Connections lists the connections whose token names the account, or all when it is empty: at most
// limit of them. It also returns how many there are.
func (h *Hub) Connections(account string, limit int) (infos []ConnectionInfo, total int) {
	sessions := h.clients.list(account)
	infos = make([]ConnectionInfo, 0, min(limit, len(sessions)))
	for _, s := range sessions[:min(limit, len(sessions))] {
		infos = append(infos, s.info())
	}
	return infos, len(sessions)
}

// info describes the session's connection.
func (s *session) info() ConnectionInfo {
	info := ConnectionInfo{
		ID:            s.id,
		Accounts:      []string{},
		Remote:        s.remote,
		Transport:     s.transport.kindName(),
		ConnectedAt:   s.since,
		Subscriptions: []string{},
	}
	info.QueuedFrames, info.QueuedBytes = s.queue.Waiting()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity != nil {
		info.Subject = s.identity.Subject
		info.Accounts = append(info.Accounts, s.identity.Accounts...)
		info.ExpiresAt = s.expiresAt
	}
	for _, sub := range s.subs {
		info.Subscriptions = append(info.Subscriptions, sub.name)
	}
	return info
}

// Disconnect closes, with 4410, the connections whose token names the account, if it is not empty,
// and the connection of that id, if it is not empty. It returns how many. The reason goes into the
// close frame.
func (h *Hub) Disconnect(account, connection, reason string) int {
	var sessions []*session
	if account != "" {
		sessions = h.clients.list(account)
	}
	if s := h.clients.findByID(connection); s != nil {
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		s.transport.closeWith(protocol.CloseDisconnected, reason)
	}
	return len(sessions)
}

// reconnectSpacing is how far apart clients come back at most after a drain.
const reconnectSpacing = 20 * time.Millisecond

// Drain lets no client in any more, tells each when to come back, and closes with 1012. They come
// back spread evenly over the window, or over a shorter one when there are few of them. Drain
// returns when they are gone. When ctx ends first, the rest is cut off.
func (h *Hub) Drain(ctx context.Context, window time.Duration) {
	h.clients.close()
	sessions := h.clients.list("")
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	window = min(max(window, 0), time.Duration(len(sessions))*reconnectSpacing)
	for i, s := range sessions {
		after := window * time.Duration(i+1) / time.Duration(len(sessions))
		s.notify(protocol.ReconnectFrame(after))
		s.transport.closeWith(protocol.CloseRestart, "")
	}
	h.awaitEmpty(ctx)
}
