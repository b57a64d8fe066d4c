package wallet

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq/oid"
)

// array builds a Postgres array in the binary format, one column of a batch: a
// header, then each element's length and bytes. In the text format both sides would
// have to print and parse each value. Empty texts, nil UUIDs and zero times become NULL.
type array struct {
	b       []byte // the header's bytes are filled in by value
	n       uint32
	element oid.Oid // of the last element that is not NULL, or as it was made
}

const arrayHeader = 5 * 4 // dimensions, has NULLs, element's type, size, lower bound

func (a *array) next(element oid.Oid, size int) {
	a.element = element
	a.add(size)
}

func (a *array) add(size int) {
	if len(a.b) == 0 {
		a.b = append(a.b, make([]byte, arrayHeader)...)
	}
	a.n++
	a.b = binary.BigEndian.AppendUint32(a.b, uint32(size)) //nolint:gosec // -1 is NULL
}

func (a *array) null() { a.add(-1) }

func (a *array) text(s string) {
	if s == "" {
		a.null()
		return
	}
	a.next(oid.T_text, len(s))
	a.b = append(a.b, s...)
}

func (a *array) int(n int64) {
	a.next(oid.T_int8, 8)
	a.b = binary.BigEndian.AppendUint64(a.b, uint64(n)) //nolint:gosec // two's complement
}

func (a *array) small(n int) {
	a.next(oid.T_int2, 2)
	a.b = binary.BigEndian.AppendUint16(a.b, uint16(n)) //nolint:gosec // callers count to a few
}

func (a *array) uuid(id uuid.UUID) {
	if id == uuid.Nil {
		a.null()
		return
	}
	a.next(oid.T_uuid, len(id))
	a.b = append(a.b, id[:]...)
}

func (a *array) bytes(v []byte) {
	a.next(oid.T_bytea, len(v))
	a.b = append(a.b, v...)
}

// postgresEpoch is 2000-01-01, in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000

// time is in whole milliseconds, as events show it.
func (a *array) time(t time.Time) {
	if t.IsZero() {
		a.null()
		return
	}
	a.next(oid.T_timestamptz, 8)
	a.b = binary.BigEndian.AppendUint64(a.b, uint64(t.UnixMilli()*1000-postgresEpoch)) //nolint:gosec // two's complement
}

// value is the array. It lives until the array changes.
func (a *array) value() []byte {
	if len(a.b) == 0 {
		a.b = append(a.b, make([]byte, arrayHeader)...)
	}
	if a.n == 0 {
		binary.BigEndian.PutUint32(a.b[8:], uint32(a.element))
		return a.b[:3*4]
	}
	for i, v := range [...]uint32{1, 1, uint32(a.element), a.n, 1} {
		binary.BigEndian.PutUint32(a.b[4*i:], v)
	}
	return a.b
}

// reset empties the array and keeps its memory, up to a bound.
func (a *array) reset() {
	const keep = 1 << 18
	if a.b, a.n = a.b[:0], 0; cap(a.b) > keep {
		a.b = nil
	}
}
