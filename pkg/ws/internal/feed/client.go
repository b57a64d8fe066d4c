package feed

import (
	"sync"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Transport is the connection of a client: a WebSocket or an event stream.
type Transport interface {
	// WakeWriter makes the writer write the send queue. It must not wait. Deliver calls it once for
	// a batch.
	WakeWriter()
	// FlushQueue is WakeWriter for the client's own goroutine. It may write immediately.
	FlushQueue()
	// CloseWith ends the connection with the code. Only the first code counts. It never waits. The
	// reason is for the log.
	CloseWith(code protocol.CloseCode, reason string)
}

// A Client is the receiver of subscriptions: a send queue and its transport.
type Client struct {
	ID        string // of the connection, for the log
	Queue     netconn.Queue
	Transport Transport

	index *Index
	ended chan struct{} // closed by EndClient

	mu        sync.Mutex // protects the fields below
	gaps      []*Feed    // feeds to repair
	repairing bool       // a goroutine repairs the gaps
}

// InitClient prepares the client of the connection with the id.
func (x *Index) InitClient(c *Client, id string) {
	c.ID = id
	c.Queue.MaxItems = x.cfg.QueueEvents
	c.Queue.MaxBytes = x.cfg.QueueBytes
	c.index = x
	c.ended = make(chan struct{})
}

// EnqueueItem adds an item to the send queue. It closes the connection when the queue is full. If
// first is true, the caller must wake the writer.
func (c *Client) EnqueueItem(it netconn.Item) (first bool) {
	first, ok := c.Queue.Push(it)
	if !ok {
		c.index.cfg.Metrics.CountLimit(metrics.LimitQueue)
		c.Transport.CloseWith(protocol.CloseSlowConsumer, "the send queue is full")
	}

	return first
}

// EnqueueFrame adds a frame that is not an event to the send queue, like EnqueueItem.
func (c *Client) EnqueueFrame(frame []byte) (first bool) {
	return c.EnqueueItem(netconn.Item{Frame: frame})
}

// enqueueEvent adds an event of a subscription to the send queue, like EnqueueItem.
func (c *Client) enqueueEvent(sub *Subscription, e *event) (first bool) {
	frame := e.Frame(sub.Name, sub.QuotedName)
	return c.EnqueueItem(netconn.Item{Frame: frame, Event: e})
}

// EndClient stops the work for a client whose connection has ended. The subscriptions must be
// closed too.
func (c *Client) EndClient() {
	c.Queue.Seal(true)
	c.mu.Lock()
	c.gaps = nil
	c.mu.Unlock()
	close(c.ended)
}
