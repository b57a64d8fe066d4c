package bus

import (
	"strconv"
)

// streamID is a stream entry's id; zero is before all entries.
type streamID struct{ millis, n uint64 }

func (id streamID) String() string {
	return strconv.FormatUint(id.millis, 10) + "-" + strconv.FormatUint(id.n, 10)
}

func (id streamID) less(other streamID) bool {
	return id.millis < other.millis || (id.millis == other.millis && id.n < other.n)
}

// back returns an id that is older by as many milliseconds.
func (id streamID) back(millis uint64) streamID {
	return streamID{millis: id.millis - min(id.millis, millis)}
}

func parseStreamID(b []byte) (id streamID, ok bool) {
	for i, c := range b {
		if c == '-' {
			id.millis, ok = parseUint(b[:i])
			if !ok {
				return streamID{}, false
			}
			id.n, ok = parseUint(b[i+1:])
			return id, ok
		}
	}
	return streamID{}, false
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
func (e *entries) list(r *reply) (n int, first, last streamID) {
	n, _ = r.array()
	for i := range n {
		last = e.entry(r)
		if i == 0 {
			first = last
		}
	}
	return n, first, last
}

// entry reads one entry. What is no delivery is counted and left out.
func (e *entries) entry(r *reply) streamID {
	pair, _ := r.array()
	id, ok := parseStreamID(r.bulk())
	fields, _ := r.array()
	if r.err == nil && (pair != 2 || !ok || fields%2 != 0) {
		r.err = errProtocol
	}
	if r.err != nil {
		return streamID{}
	}
	d := e.next(id)
	for range fields / 2 {
		name := r.bulk()
		e.set(d, name, r.bulk())
	}
	if r.err == nil {
		e.keep(d)
	}
	return id
}

// next returns a place for a delivery. It stays free until keep.
func (e *entries) next(id streamID) *Delivery {
	n := len(e.deliveries)
	if n == cap(e.deliveries) {
		e.deliveries = append(e.deliveries, Delivery{})[:n]
	}
	d := &e.deliveries[:n+1][n]
	*d = Delivery{StreamMillis: int64(id.millis)} //nolint:gosec // a clock's milliseconds
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
		d.ID = unsafeString(value)
	case "type":
		d.Type = e.word(value)
	case "account":
		d.Account = string(value)
	case "seq":
		d.Seq = parseAmount(value)
	case "amount":
		d.Amount = parseAmount(value)
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
		d.TraceParent = unsafeString(value)
	}
}

// parseAmount returns -1 for what is no number of ours.
func parseAmount(b []byte) int64 {
	n, ok := parseUint(b)
	if !ok || n > 1<<62 {
		return -1
	}
	return int64(n) //nolint:gosec // checked
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
