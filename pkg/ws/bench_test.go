package ws

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A discardTransport is a transport that empties the send queue.
type discardTransport struct {
	session *session
	buf     netconn.Buffer
}

// newDiscardSession returns a session with a discardTransport.
func newDiscardSession(h *Hub, identity *Identity) *session {
	d := &discardTransport{}
	d.session = newSession(h, "")
	d.session.setTransport(d)
	d.session.identity = identity
	return d.session
}

func (d *discardTransport) WakeWriter() {
	for d.buf.FillFrom(&d.session.Queue) {
		continue
	}
}

func (d *discardTransport) FlushQueue()                          { d.WakeWriter() }
func (d *discardTransport) wasActive() bool                      { return true }
func (d *discardTransport) kindName() string                     { return "discard" }
func (d *discardTransport) CloseWith(protocol.CloseCode, string) { panic("closed") }

// BenchmarkDeliver measures one delivery of 300 bytes, in batches of 100, until the send queue of
// each subscriber of its account was emptied.
func BenchmarkDeliver(b *testing.B) {
	for _, subscribers := range []int{0, 1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			l := newLedger()
			h := NewHub(Config{MemoryEvents: 1 << 14}, l, l)
			for range subscribers {
				s := newDiscardSession(h, &Identity{Accounts: []string{"user:u1"}})
				sub := "wallet"
				refused := s.handleSubscribe(&protocol.ClientFrame{Sub: &sub})
				if refused != nil {
					b.Fatal(refused.Message)
				}
			}
			const batchSize = 100
			batch := make([]bus.Delivery, batchSize)
			data := append([]byte(`{"eventId":"`), make([]byte, 286)...)
			var seq int64
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += batchSize {
				for i := range batch {
					seq++
					batch[i] = bus.Delivery{
						Account: "user:u1",
						Seq:     seq,
						Type:    "wallet.balance_updated",
						Reason:  "admin_credit",
						Data:    data,
					}
				}
				h.Deliver(batch, false)
			}
		})
	}
}

// BenchmarkResume measures a client that subscribes with after and receives ten events from the
// memory.
func BenchmarkResume(b *testing.B) {
	l := newLedger()
	h := NewHub(Config{}, l, l)
	const accounts = 1000
	identity := &Identity{}
	for i := range accounts {
		account := fmt.Sprintf("user:u%d", i)
		identity.Accounts = append(identity.Accounts, account)
		h.Deliver(l.publishEvents(account, 20), false)
	}
	s := newDiscardSession(h, identity)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		account := identity.Accounts[i%accounts]
		raw := fmt.Appendf(nil, `{"op":"subscribe","sub":"wallet","accounts":["%s"],"after":{"%s":10}}`,
			account, account)
		protocol.ForEachFrame(raw, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
			if refused == nil {
				refused = s.handleSubscribe(&f)
			}
			if refused != nil {
				b.Fatal(refused.Message)
			}
			return true
		})
		refused := s.handleUnsubscribe("wallet")
		if refused != nil {
			b.Fatal(refused.Message)
		}
	}
}
