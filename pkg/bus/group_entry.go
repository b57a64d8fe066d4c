package bus

import (
	"bytes"
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// entry is where in Redis a task's event came from.
type entry struct {
	place
	raw    []byte    // the fields, as Redis sent them: an array's elements
	fields int       // how many elements: names and values
	seen   time.Time // when it was read, or claimed again
	copied bool      // the second party's delivery
	only   string    // replayed: the subscription that failed; empty: for all
	bad    error     // why it is a dead letter for all subscriptions; nil: it is none
	marked bool      // done markers were written. The settler's.
	gone   bool      // acknowledged. The settler's.
	// Redis handed it out again meanwhile. Under Redis.mu.
	ackAgain bool
}

// The fields of an entry that a bus looks at.
const (
	fieldID = iota
	fieldType
	fieldAccount
	fieldSeq
	fieldKey
	fieldAmount
	fieldReason
	fieldFeature
	fieldData
	fieldCopy
	fieldSubscriber
	fieldTraceParent
	knownFields
)

func fieldNamed(name []byte) int {
	switch string(name) {
	case "id":
		return fieldID
	case "type":
		return fieldType
	case "account":
		return fieldAccount
	case "seq":
		return fieldSeq
	case "key":
		return fieldKey
	case "amount":
		return fieldAmount
	case "reason":
		return fieldReason
	case "feature":
		return fieldFeature
	case "data":
		return fieldData
	case "copy":
		return fieldCopy
	case "subscriber":
		return fieldSubscriber
	case "traceparent":
		return fieldTraceParent
	}
	return knownFields
}

// found is an entry while it is a part of a reply that is about to be overwritten.
type found struct {
	id      streamentry.ID
	raw     []byte // the fields; nil: the entry was deleted
	fields  int
	at, end [knownFields]int // where in raw each known field's value is; 0, 0: absent
}

// next reads an entry out of a reply.
func (f *found) next(r *resp.Cursor) {
	*f = found{}
	pair, _ := r.ReadArray()
	id, ok := streamentry.ParseID(r.ReadString())
	if r.Err == nil && (pair != 2 || !ok) {
		r.Err = resp.ErrProtocol
	}
	if r.Err != nil {
		return
	}
	f.id = id
	kind, n := r.ReadHeader()
	if n < 0 || r.Err != nil {
		return
	}
	if kind != '*' || n%2 != 0 {
		r.Err = resp.ErrProtocol
		return
	}
	f.fields = n
	start := r.B
	for range f.fields / 2 {
		known := fieldNamed(r.ReadString())
		value := r.ReadString()
		if known < knownFields && r.Err == nil {
			f.end[known] = len(start) - len(r.B) - 2 // the line's end
			f.at[known] = f.end[known] - len(value)
		}
	}
	f.raw = start[:len(start)-len(r.B)]
}

// value is a known field's, as a part of raw or of a copy of it.
func (f *found) value(raw []byte, known int) []byte {
	return raw[f.at[known]:f.end[known]:f.end[known]]
}

func (f *found) text(raw []byte, known int) string { return streamentry.Text(f.value(raw, known)) }

func (f *found) isCopy() bool { return bytes.Equal(f.value(f.raw, fieldCopy), []byte("1")) }

var errNoEvent = errors.New("the entry is no event")

// task copies an entry, so that an event that waits for long keeps no other one in
// memory, and reads the event out of it: all that can be read, if it is bad.
func (f *found) task(partNumber int, words *entries, now time.Time) *task {
	raw := bytes.Clone(f.raw)
	t := &task{entry: entry{place: place{part: partNumber, id: f.id}, raw: raw, fields: f.fields, copied: f.isCopy(), seen: now}}
	e := &t.event
	e.ID, e.Type = f.text(raw, fieldID), words.word(f.value(raw, fieldType))
	e.Account, e.Key = f.text(raw, fieldAccount), f.text(raw, fieldKey)
	e.Reason, e.Feature = f.text(raw, fieldReason), f.text(raw, fieldFeature)
	e.TraceParent = f.text(raw, fieldTraceParent)
	if f.end[fieldData] > 0 {
		e.Data = f.value(raw, fieldData)
	}
	number := func(known int) int64 {
		if f.end[known] == 0 {
			return 0
		}
		n := streamentry.ParseAmount(f.value(raw, known))
		if n < 0 {
			t.bad = errNoEvent
			return 0
		}
		return n
	}
	e.Seq, e.Amount = number(fieldSeq), number(fieldAmount)
	if e.ID == "" || !word(e.Type, maxType) || len(e.Data) == 0 {
		t.bad = errNoEvent
	}
	return t
}

// pairs calls f with each name and value of the entry.
func (e *entry) pairs(f func(name, value []byte)) {
	r := resp.Cursor{B: e.raw}
	for range e.fields / 2 {
		name := r.ReadString()
		f(name, r.ReadString())
	}
}
