package ws

import (
	"context"
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Hub carries deliveries to the subscriptions of this gateway's clients.
type Hub struct{}

// NewHub makes a hub. It starts nothing: Run does.
func NewHub(cfg Config, snapshots Snapshots, history History) *Hub { return nil }

// Run does the hub's work until ctx ends.
func (h *Hub) Run(ctx context.Context) error { return nil }

// Deliver takes a batch of entries in stream order.
func (h *Hub) Deliver(batch []bus.Delivery, refill bool) {}

// Handler serves GET /v1/ws.
func (h *Hub) Handler(v Verifier) http.Handler { return nil }

// Close closes all connections with 1001 and waits until they are gone.
func (h *Hub) Close(ctx context.Context) {}

// Drain asks all clients to come back elsewhere, spread over window, and closes with 1012.
func (h *Hub) Drain(ctx context.Context, window time.Duration) {}

// Recheck compares every subscribed account with its snapshot and heals what lags.
// Call it when the tail may have lost entries.
func (h *Hub) Recheck(ctx context.Context) {}

// Disconnect closes connections with 4410.
func (h *Hub) Disconnect(account, connection, reason string) int { return 0 }

// Revoke closes the connections that were opened with a token, with 4403.
func (h *Hub) Revoke(tokenID string) int { return 0 }

// Connections lists connections.
func (h *Hub) Connections(account string) []ConnectionInfo { return nil }

// Stats is a look at the hub.
func (h *Hub) Stats() Stats { return Stats{} }

// Stats counts what a hub holds at one moment.
type Stats struct {
	Connections   int  `json:"connections"`
	Subscriptions int  `json:"subscriptions"`
	Accounts      int  `json:"accounts"`     // with at least one subscription
	MemoryEvents  int  `json:"memoryEvents"` // kept for resume
	MemoryBytes   int  `json:"memoryBytes"`
	Draining      bool `json:"draining"`
}

// ConnectionInfo describes one connection to an administrator.
type ConnectionInfo struct {
	ID            string    `json:"connection"`
	Subject       string    `json:"subject"`
	Accounts      []string  `json:"accounts"`
	Remote        string    `json:"remote"`
	ConnectedAt   time.Time `json:"connectedAt"`
	ExpiresAt     time.Time `json:"expiresAt"`
	Subscriptions []string  `json:"subscriptions"`
	QueuedFrames  int       `json:"queuedFrames"`
	QueuedBytes   int       `json:"queuedBytes"`
}
