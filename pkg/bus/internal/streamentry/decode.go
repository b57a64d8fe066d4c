// Package streamentry is the form of an event in a Redis stream: the one encoder and the one decoder of an
// entry, and entry ids.
package streamentry

import (
	"strconv"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// ID is a stream entry's id; zero is before all entries.
type ID struct{ Millis, Number uint64 }

func (id ID) String() string {
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.Number, 10)
}

// Less reports whether the id is before the other one.
func (id ID) Less(other ID) bool {
	return id.Millis < other.Millis || (id.Millis == other.Millis && id.Number < other.Number)
}

// Back returns an id that is older by as many milliseconds.
func (id ID) Back(millis uint64) ID {
	return ID{Millis: id.Millis - min(id.Millis, millis)}
}

// ParseID reads an entry id, such as 1526919030474-55.
func ParseID(b []byte) (id ID, ok bool) {
	for i, c := range b {
		if c == '-' {
			id.Millis, ok = parseUint(b[:i])
			if !ok {
				return ID{}, false
			}
			id.Number, ok = parseUint(b[i+1:])
			return id, ok
		}
	}
	return ID{}, false
}

// parseUint reads up to 19 digits, which an uint64 always holds.
func parseUint(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// Decoder turns stream entries into deliveries.
type Decoder struct {
	words      map[string]string // types, reasons, features: few different ones, kept once
	Deliveries []bus.Delivery    // reused from read to read
	Malformed  int
}

// maxWords bounds the words that are kept; beyond it each is a copy of its own.
const maxWords = 4096

// DecodeReply reads an array of entries and returns how many there were, and the ids of
// the first and the last one.
func (e *Decoder) DecodeReply(r *resp.Cursor) (n int, first, last ID) {
	n, _ = r.Array()
	for i := range n {
		last = e.entry(r)
		if i == 0 {
			first = last
		}
	}
	return n, first, last
}

// entry reads one entry. What is no delivery is counted and left out.
func (e *Decoder) entry(r *resp.Cursor) ID {
	pair, _ := r.Array()
	id, ok := ParseID(r.Bulk())
	fields, _ := r.Array()
	if r.Err == nil && (pair != 2 || !ok || fields%2 != 0) {
		r.Err = resp.ErrProtocol
	}
	if r.Err != nil {
		return ID{}
	}
	d := e.next(id)
	for range fields / 2 {
		name := r.Bulk()
		e.set(d, name, r.Bulk())
	}
	if r.Err == nil {
		e.keep(d)
	}
	return id
}

// next returns a place for a delivery. It stays free until keep.
func (e *Decoder) next(id ID) *bus.Delivery {
	n := len(e.Deliveries)
	if n == cap(e.Deliveries) {
		e.Deliveries = append(e.Deliveries, bus.Delivery{})[:n]
	}
	d := &e.Deliveries[:n+1][n]
	*d = bus.Delivery{StreamMillis: int64(id.Millis)} //nolint:gosec // a clock's milliseconds
	return d
}

// keep takes the place if what is in it can be delivered. Events that others than the
// ledger publish have no seq and are nobody's delivery.
func (e *Decoder) keep(d *bus.Delivery) {
	if d.Seq == 0 && d.ID != "" && d.Type != "" && len(d.Data) > 0 {
		return
	}
	if d.ID == "" || d.Type == "" || d.Account == "" || d.Seq < 1 || d.Amount < 0 || len(d.Data) == 0 {
		e.Malformed++
		return
	}
	e.Deliveries = e.Deliveries[:len(e.Deliveries)+1]
}

// set takes over one field. ID, Data, View and TraceParent stay parts of the read's buffer;
// the other strings do not, since they end up as keys that live for long.
func (e *Decoder) set(d *bus.Delivery, name, value []byte) {
	switch string(name) {
	case "id":
		d.ID = UnsafeString(value)
	case "type":
		d.Type = e.Word(value)
	case "account":
		d.Account = string(value)
	case "seq":
		d.Seq = ParseNumber(value)
	case "amount":
		d.Amount = ParseNumber(value)
	case "reason":
		d.Reason = e.Word(value)
	case "feature":
		d.Feature = e.Word(value)
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

// ParseNumber returns -1 for what is no number of ours.
func ParseNumber(b []byte) int64 {
	n, ok := parseUint(b)
	if !ok || n > 1<<62 {
		return -1
	}
	return int64(n) //nolint:gosec // checked
}

// Word returns a string that is shared by all entries with the same few values.
func (e *Decoder) Word(b []byte) string {
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

// Reset forgets the deliveries of the last read and keeps their space.
func (e *Decoder) Reset() {
	clear(e.Deliveries) // let go of the last read's buffer
	e.Deliveries, e.Malformed = e.Deliveries[:0], 0
}
