// Package streamentry encodes events as entries of a Redis stream, and decodes entries and their
// ids.
package streamentry

import (
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// Decoder decodes stream entries into deliveries.
type Decoder struct {
	interned   map[string]string // types, reasons and features, which have few different values
	Deliveries []bus.Delivery    // reused from read to read
	Malformed  int               // entries of the last read that are not valid
	invalid    bool              // a field of the current entry is not valid
}

// maxInterned bounds the interned strings. Further strings are copied each time.
const maxInterned = 4096

// DecodeReply decodes an array of entries. It returns the number of entries and the ids of the
// first and the last one.
func (dec *Decoder) DecodeReply(r *resp.Cursor) (n int, first, last ID) {
	n, _ = r.ReadArray()
	for i := range n {
		last = dec.decodeEntry(r)
		if i == 0 {
			first = last
		}
	}

	return n, first, last
}

// decodeEntry decodes one entry and returns its id. An invalid entry is counted and skipped.
func (dec *Decoder) decodeEntry(r *resp.Cursor) ID {
	pair, _ := r.ReadArray()
	id, ok := ParseID(r.ReadBulk())
	fields, _ := r.ReadArray()
	if r.Err == nil && (pair != 2 || !ok || fields%2 != 0) {
		r.Err = resp.ErrProtocol
	}

	if r.Err != nil {
		return ID{}
	}

	d := dec.nextDelivery(id)
	for range fields / 2 {
		name := r.ReadBulk()
		dec.setField(d, name, r.ReadBulk())
	}

	if r.Err == nil {
		dec.keepDelivery(d)
	}

	return id
}

// nextDelivery returns the delivery after the last one in Deliveries. It is added by keepDelivery.
func (dec *Decoder) nextDelivery(id ID) *bus.Delivery {
	n := len(dec.Deliveries)
	if n == cap(dec.Deliveries) {
		dec.Deliveries = append(dec.Deliveries, bus.Delivery{})[:n]
	}

	d := &dec.Deliveries[:n+1][n]
	dec.invalid = false
	*d = bus.Delivery{StreamMillis: int64(id.Millis)} //nolint:gosec // milliseconds since 1970
	return d
}

// keepDelivery adds d to Deliveries if it is valid. Events of producers other than the ledger have
// no seq. They are skipped and do not count as malformed. A marker may have the seq 0.
func (dec *Decoder) keepDelivery(d *bus.Delivery) {
	isEvent := d.ID != "" && d.Type != "" && len(d.Data) > 0 && !d.HasLineBreak()
	minSeq := int64(1)
	if d.Type == bus.TypeHistoryChanged {
		minSeq = 0
	}

	if isEvent && d.Seq == 0 && minSeq > 0 {
		return
	}

	if !isEvent || dec.invalid || d.Account == "" || d.Seq < minSeq || d.Amount < 0 {
		dec.Malformed++
		return
	}

	dec.Deliveries = dec.Deliveries[:len(dec.Deliveries)+1]
}

// setField sets one field of d. ID, Data, View and TraceParent stay parts of the read's buffer. The
// other strings are copied, since they become map keys that live long.
func (dec *Decoder) setField(d *bus.Delivery, name, value []byte) {
	switch string(name) {
	case "id":
		d.ID = UnsafeString(value)
	case "type":
		d.Type = dec.internString(value)
	case "account":
		d.Account = string(value)
	case "seq":
		d.Seq = ParseNumber(value)
	case "chain":
		var err error
		d.Chain, err = bus.ParseChain(value)
		if err != nil {
			dec.invalid = true
		}
	case "amount":
		d.Amount = ParseNumber(value)
	case "reason":
		d.Reason = dec.internString(value)
	case "feature":
		d.Feature = dec.internString(value)
	case "data":
		d.Data = value
	case "view":
		d.View = value
	case "copy":
		d.SecondParty = len(value) == 1 && value[0] == '1'
	case "traceparent":
		d.TraceParent = UnsafeString(value)
	}
}

// internString returns a string that all entries with this value share.
func (dec *Decoder) internString(b []byte) string {
	interned, ok := dec.interned[string(b)]
	if ok {
		return interned
	}

	s := string(b)
	if len(dec.interned) < maxInterned {
		if dec.interned == nil {
			dec.interned = map[string]string{}
		}

		dec.interned[s] = s
	}

	return s
}

// Reset removes the deliveries of the last read and keeps their space.
func (dec *Decoder) Reset() {
	clear(dec.Deliveries) // releases the buffer of the last read
	dec.Deliveries = dec.Deliveries[:0]
	dec.Malformed = 0
}
