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
	st := Stats{Draining: h.clients.isClosed()}
	for _, s := range h.clients.list("") {
		st.Connections++
		s.mu.Lock()
		st.Subscriptions += len(s.subs)
		s.mu.Unlock()
	}
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, t := range s.topics {
			if len(t.feeds) > 0 {
				st.Accounts++
			}
		}
		st.MemoryEvents += int(s.memory.tail - s.memory.head)
		st.MemoryBytes += s.memory.bytes
		s.mu.Unlock()
	}
	return st
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

// Connections lists the connections whose token names the account, or all when it
// is empty: at most limit of them, and how many there are.
func (h *Hub) Connections(account string, limit int) (infos []ConnectionInfo, total int) {
	sessions := h.clients.list(account)
	infos = make([]ConnectionInfo, 0, min(limit, len(sessions)))
	for _, s := range sessions[:min(limit, len(sessions))] {
		info := ConnectionInfo{ID: s.id, Remote: s.remote, Transport: s.transport.name(), ConnectedAt: s.since, Accounts: []string{}, Subscriptions: []string{}}
		info.QueuedFrames, info.QueuedBytes = s.sendQueue.waiting()
		s.mu.Lock()
		if s.identity != nil {
			info.Subject, info.ExpiresAt = s.identity.Subject, s.expiresAt
			info.Accounts = append(info.Accounts, s.identity.Accounts...)
		}
		for _, sub := range s.subs {
			info.Subscriptions = append(info.Subscriptions, sub.name)
		}
		s.mu.Unlock()
		infos = append(infos, info)
	}
	return infos, len(sessions)
}

// Disconnect closes, with 4410, the connections whose token names the account (when
// it is not empty) and the connection of that id (when it is not empty), and tells
// how many. The reason goes into the close frame.
func (h *Hub) Disconnect(account, connection, reason string) int {
	var sessions []*session
	if account != "" {
		sessions = h.clients.list(account)
	}
	if s := h.clients.byConnection(connection); s != nil {
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		s.transport.closeWith(protocol.CloseDisconnected, reason)
	}
	return len(sessions)
}

// comingBack is how far apart clients come back at most after a drain.
const comingBack = 20 * time.Millisecond

// Drain lets no client in any more, tells each when to come back, and closes with
// 1012. They come back spread evenly over the window, or over a shorter one when
// there are few of them. Drain returns when they are gone; when ctx ends first, the
// rest is cut off.
func (h *Hub) Drain(ctx context.Context, window time.Duration) {
	h.clients.close()
	sessions := h.clients.list("")
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	window = min(max(window, 0), time.Duration(len(sessions))*comingBack)
	for i, s := range sessions {
		after := window * time.Duration(i+1) / time.Duration(len(sessions))
		s.notify(item{frame: protocol.ReconnectFrame(after)})
		s.transport.closeWith(protocol.CloseRestart, "")
	}
	h.await(ctx)
}
