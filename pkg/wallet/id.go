package wallet

import (
	"crypto/sha1" //nolint:gosec // what a UUIDv5 is made of
	"strconv"
	"time"

	"github.com/google/uuid"
)

// newID makes a UUIDv7 and the time that it carries, in whole milliseconds.
func newID() (uuid.UUID, time.Time) {
	id := uuid.Must(uuid.NewV7())
	return id, idTime(id)
}

// newIDAfter is newID with a time that is not before t, and what the clock says.
func newIDAfter(t time.Time) (id uuid.UUID, at, now time.Time) {
	id, now = newID()
	if !now.Before(t) {
		return id, now, now
	}
	from := idFrom(t)
	copy(id[:6], from[:6])
	return id, idTime(id), now
}

// idTime is the time in a UUIDv7: its first 48 bits, milliseconds since 1970.
func idTime(id uuid.UUID) time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// idFrom is the smallest UUIDv7 of the time, at least of 1970: the bound of an index range.
func idFrom(t time.Time) uuid.UUID {
	var id uuid.UUID
	ms := max(t.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70, 0x80
	return id
}

// derivedID is uuid.NewSHA1, without its allocations: the UUIDv5 of a name, and
// of the number behind it unless that is negative.
func derivedID(space uuid.UUID, name string, number int) uuid.UUID {
	var buf [48]byte
	b := append(append(buf[:0], space[:]...), name...)
	if number >= 0 {
		b = strconv.AppendInt(b, int64(number), 10)
	}
	sum := sha1.Sum(b) //nolint:gosec // as above
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 5<<4
	id[8] = id[8]&0x3f | 0x80
	return id
}
