package wallet

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq/oid"
)

// This file encodes Postgres arrays in the binary format. A batch is sent to Postgres as about
// sixty arrays, one for each column. In the text format, the core would format every number, time
// and UUID and Postgres would parse it again. In the binary format, both sides copy bytes. The
// drivers use reflection for arrays, so this file has its own encoder.
//
// An array is a header and its elements. The header is five 32-bit integers: the number of
// dimensions, a flag for NULLs, the OID of the element type, the number of elements and the lower
// bound. An empty array has no dimension and only the first three integers. An element is its
// length in bytes and its bytes. The length -1 means NULL.

// pgType is the element type of an array.
type pgType struct {
	name string // in SQL
	oid  oid.Oid
}

// The element types of the ledger's arrays.
var (
	pgText        = pgType{"text", oid.T_text}
	pgInt2        = pgType{"int2", oid.T_int2}
	pgInt8        = pgType{"int8", oid.T_int8}
	pgUUID        = pgType{"uuid", oid.T_uuid}
	pgBytea       = pgType{"bytea", oid.T_bytea}
	pgTimestamptz = pgType{"timestamptz", oid.T_timestamptz}
)

// pgArray encodes a one-dimensional array. newPgArray creates one. Only the append method of the
// element type may be called. Empty texts, nil UUIDs and zero times become NULL.
type pgArray struct {
	element pgType
	count   uint32
	encoded []byte // the header and the elements; encode sets the header
}

const (
	arrayHeaderSize      = 5 * 4
	emptyArrayHeaderSize = 3 * 4
)

func newPgArray(element pgType) pgArray {
	return pgArray{element: element, encoded: make([]byte, arrayHeaderSize)}
}

// appendLength starts an element of the given length. The length -1 means NULL.
func (a *pgArray) appendLength(length int) {
	a.count++
	a.encoded = binary.BigEndian.AppendUint32(a.encoded, uint32(length)) //nolint:gosec // -1 means NULL
}

func (a *pgArray) appendNull() { a.appendLength(-1) }

func (a *pgArray) appendText(s string) {
	if s == "" {
		a.appendNull()
		return
	}

	a.appendLength(len(s))
	a.encoded = append(a.encoded, s...)
}

func (a *pgArray) appendInt8(n int64) {
	a.appendLength(8)
	a.encoded = binary.BigEndian.AppendUint64(a.encoded, uint64(n)) //nolint:gosec // two's complement
}

func (a *pgArray) appendInt2(n int) {
	a.appendLength(2)
	a.encoded = binary.BigEndian.AppendUint16(a.encoded, uint16(n)) //nolint:gosec // places are small
}

func (a *pgArray) appendUUID(id uuid.UUID) {
	if id == uuid.Nil {
		a.appendNull()
		return
	}

	a.appendLength(len(id))
	a.encoded = append(a.encoded, id[:]...)
}

func (a *pgArray) appendBytes(b []byte) {
	a.appendLength(len(b))
	a.encoded = append(a.encoded, b...)
}

// postgresEpoch is 2000-01-01, in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000

// appendTime truncates the time to milliseconds, the precision of the events.
func (a *pgArray) appendTime(t time.Time) {
	if t.IsZero() {
		a.appendNull()
		return
	}

	a.appendLength(8)
	micros := t.UnixMilli()*1000 - postgresEpoch
	a.encoded = binary.BigEndian.AppendUint64(a.encoded, uint64(micros)) //nolint:gosec // two's complement
}

// encode returns the encoded array. It is valid until the next call of another method.
func (a *pgArray) encode() []byte {
	if a.count == 0 {
		a.putHeader(0, 0, uint32(a.element.oid))
		return a.encoded[:emptyArrayHeaderSize]
	}

	a.putHeader(1, 1, uint32(a.element.oid), a.count, 1)
	return a.encoded
}

func (a *pgArray) putHeader(fields ...uint32) {
	for i, field := range fields {
		binary.BigEndian.PutUint32(a.encoded[4*i:], field)
	}
}

// maxKeptArray bounds the memory that an array keeps after reset, in bytes.
const maxKeptArray = 1 << 18

// reset removes all elements. The array keeps its memory unless it is larger than maxKeptArray.
func (a *pgArray) reset() {
	if cap(a.encoded) > maxKeptArray {
		*a = newPgArray(a.element)
		return
	}

	a.count = 0
	a.encoded = a.encoded[:arrayHeaderSize]
}
