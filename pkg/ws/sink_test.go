package ws

import (
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A sink is a transport in memory. It keeps the frames that a client receives, in order.
type sink struct {
	session *session

	mu       sync.Mutex // protects the fields below, and the order of frames
	received []string
	code     protocol.CloseCode
	isSlow   bool // the client does not read
	requests map[string]*modelRequest
}

func newSink(h *Hub, identity *Identity) *sink {
	k := &sink{requests: map[string]*modelRequest{}}
	k.session = newSession(h, "test")
	k.session.setTransport(k)
	k.session.identity = identity
	return k
}

// setSlow sets whether the client stops reading.
func (k *sink) setSlow(isSlow bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.isSlow = isSlow
}

func (k *sink) WakeWriter()      { k.FlushQueue() }
func (k *sink) wasActive() bool  { return true }
func (k *sink) kindName() string { return "sink" }

func (k *sink) FlushQueue() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.isSlow {
		var buf netconn.Buffer
		if !buf.FillFrom(&k.session.Queue) {
			return
		}
		for _, it := range buf.Items {
			k.received = append(k.received, string(it.Frame))
		}
	}
}

func (k *sink) CloseWith(code protocol.CloseCode, _ string) {
	k.session.Queue.Seal(true)
	if k.mu.TryLock() { // FlushQueue does not close
		if k.code == 0 {
			k.code = code
		}
		k.mu.Unlock()
	}
}

// frames returns a copy of the frames so far.
func (k *sink) frames() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.received)
}
