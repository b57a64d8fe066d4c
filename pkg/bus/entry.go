package bus

import (
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// entries turns stream entries into deliveries.
type entries struct {
	words      map[string]string // types, reasons, features: few different ones, kept once
	deliveries []Delivery        // reused from read to read
	malformed  int
}

// maxWords bounds the words that are kept; beyond it each is a copy of its own.
const maxWords = 4096

// list reads an array of entries and returns how many there were, and the ids of
// the first and the last one.
func (e *entries) list(r *resp.Cursor) (n int, first, last streamentry.ID) {
	n, _ = r.ReadArray()
	for i := range n {
		last = e.entry(r)
		if i == 0 {
			first = last
		}
	}
	return n, first, last
}

// entry reads one entry. What is no delivery is counted and left out.
func (e *entries) entry(r *resp.Cursor) streamentry.ID {
	pair, _ := r.ReadArray()
	id, ok := streamentry.ParseID(r.ReadString())
	fields, _ := r.ReadArray()
	if r.Err == nil && (pair != 2 || !ok || fields%2 != 0) {
		r.Err = resp.ErrProtocol
	}
	if r.Err != nil {
		return streamentry.ID{}
	}
	d := e.next(id)
	for range fields / 2 {
		name := r.ReadString()
		e.set(d, name, r.ReadString())
	}
	if r.Err == nil {
		e.keep(d)
	}
	return id
}

// next returns a place for a delivery. It stays free until keep.
func (e *entries) next(id streamentry.ID) *Delivery {
	n := len(e.deliveries)
	if n == cap(e.deliveries) {
		e.deliveries = append(e.deliveries, Delivery{})[:n]
	}
	d := &e.deliveries[:n+1][n]
	*d = Delivery{StreamMillis: int64(id.Millis)} //nolint:gosec // a clock's milliseconds
	return d
}

// keep takes the place if what is in it can be delivered. Events that others than the
// ledger publish have no seq and are nobody's delivery.
func (e *entries) keep(d *Delivery) {
	if d.Seq == 0 && d.ID != "" && d.Type != "" && len(d.Data) > 0 {
		return
	}
	if d.ID == "" || d.Type == "" || d.Account == "" || d.Seq < 1 || d.Amount < 0 || len(d.Data) == 0 {
		e.malformed++
		return
	}
	e.deliveries = e.deliveries[:len(e.deliveries)+1]
}

// set takes over one field. ID, Data, View and TraceParent stay parts of the read's buffer;
// the other strings do not, since they end up as keys that live for long.
func (e *entries) set(d *Delivery, name, value []byte) {
	switch string(name) {
	case "id":
		d.ID = streamentry.Text(value)
	case "type":
		d.Type = e.word(value)
	case "account":
		d.Account = string(value)
	case "seq":
		d.Seq = streamentry.ParseAmount(value)
	case "amount":
		d.Amount = streamentry.ParseAmount(value)
	case "reason":
		d.Reason = e.word(value)
	case "feature":
		d.Feature = e.word(value)
	case "data":
		d.Data = value
	case "view":
		d.View = value
	case "copy":
		d.Copy = len(value) == 1 && value[0] == '1'
	case "traceparent":
		d.TraceParent = streamentry.Text(value)
	}
}

func (e *entries) word(b []byte) string {
	if w, ok := e.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(e.words) < maxWords {
		if e.words == nil {
			e.words = map[string]string{}
		}
		e.words[w] = w
	}
	return w
}

// reset forgets the deliveries of the last read and keeps their space.
func (e *entries) reset() {
	clear(e.deliveries) // let go of the last read's buffer
	e.deliveries, e.malformed = e.deliveries[:0], 0
}
