package ws

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// drop is a transport that throws away what it is woken for.
type drop struct {
	session *session
	buf     netconn.Buffer
}

func (d *drop) wakeWriter() {
	for d.buf.FillFrom(&d.session.queue) { // until nothing waits
	}
}
func (d *drop) flushQueue()                          { d.wakeWriter() }
func (d *drop) wasHeard() bool                       { return true }
func (d *drop) kindName() string                     { return "drop" }
func (d *drop) closeWith(protocol.CloseCode, string) { panic("closed") }

// BenchmarkDeliver is the cost of one delivery of 300 bytes, in batches of 100,
// with so many subscribers of its account, until each send queue was emptied once.
func BenchmarkDeliver(b *testing.B) {
	for _, subscribers := range []int{0, 1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			l := newLedger()
			h := NewHub(Config{MemoryEvents: 1 << 14}, l, l)
			for range subscribers {
				d := &drop{}
				d.session = newSession(h, "")
				d.session.transport = d
				d.session.identity = &Identity{Accounts: []string{"user:u1"}}
				sub := "wallet"
				if r := d.session.subscribe(&protocol.ClientFrame{Sub: &sub}); r != nil {
					b.Fatal(r.Message)
				}
			}
			const batch = 100
			deliveries := make([]bus.Delivery, batch)
			data := append([]byte(`{"eventId":"`), make([]byte, 286)...)
			var seq int64
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				for i := range deliveries {
					seq++
					deliveries[i] = bus.Delivery{Account: "user:u1", Seq: seq, Type: "wallet.balance_updated", Reason: "admin_credit", Data: data}
				}
				h.Deliver(deliveries, false)
			}
		})
	}
}

// BenchmarkResume is a client that subscribes with after and gets ten events from
// the memory.
func BenchmarkResume(b *testing.B) {
	l := newLedger()
	h := NewHub(Config{}, l, l)
	const accounts = 1000
	identity := &Identity{}
	for i := range accounts {
		identity.Accounts = append(identity.Accounts, fmt.Sprintf("user:u%d", i))
		h.Deliver(l.publish(identity.Accounts[i], 20), false)
	}
	d := &drop{}
	d.session = newSession(h, "")
	d.session.transport = d
	d.session.identity = identity
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		raw := fmt.Appendf(nil, `{"op":"subscribe","sub":"wallet","accounts":["user:u%d"],"after":{"user:u%d":10}}`, i%accounts, i%accounts)
		protocol.ForEachFrame(raw, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
			if refused == nil {
				refused = d.session.subscribe(&f)
			}
			if refused != nil {
				b.Fatal(refused.Message)
			}
			return true
		})
		if r := d.session.unsubscribe("wallet"); r != nil {
			b.Fatal(r.Message)
		}
	}
}
