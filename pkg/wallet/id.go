package wallet

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines UUIDv5 with SHA-1
	"strconv"
	"time"

	"github.com/google/uuid"
)

// newID returns a new UUIDv7 and the time that it contains, in whole milliseconds. The time is that of
// the clock. A nil clock is time.Now.
func newID(clock func() time.Time) (uuid.UUID, time.Time) {
	id := uuid.Must(uuid.NewV7())
	if clock != nil {
		setIDTime(&id, clock())
	}

	return id, idTime(id)
}

// setIDTime changes the time in a UUIDv7.
func setIDTime(id *uuid.UUID, t time.Time) {
	from := smallestID(t)
	copy(id[:6], from[:6])
}

// newIDAfter returns a new UUIDv7 whose time is t or later. at is the time in the id. now is the
// clock's time. They differ only if t is later than now. A nil clock is time.Now.
func newIDAfter(t time.Time, clock func() time.Time) (id uuid.UUID, at, now time.Time) {
	id, now = newID(clock)
	if !now.Before(t) {
		return id, now, now
	}

	setIDTime(&id, t)
	return id, idTime(id), now
}

// idTime returns the time in a UUIDv7. The first 48 bits are milliseconds since 1970.
func idTime(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}

	return time.UnixMilli(ms).UTC()
}

// smallestID returns the smallest UUIDv7 of a time. It is the bound of an index range. A time
// before 1970 counts as 1970.
func smallestID(t time.Time) uuid.UUID {
	var id uuid.UUID
	ms := max(t.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}

	id[6] = 0x70
	id[8] = 0x80
	return id
}

// deriveID returns the UUIDv5 of a name in a namespace. If number is not negative, it is appended
// to the name. deriveID returns the same ids as uuid.NewSHA1, but does not allocate.
func deriveID(space uuid.UUID, name string, number int) uuid.UUID {
	var buf [48]byte
	b := append(buf[:0], space[:]...)
	b = append(b, name...)
	if number >= 0 {
		b = strconv.AppendInt(b, int64(number), 10)
	}

	sum := sha1.Sum(b) //nolint:gosec // RFC 9562 defines UUIDv5 with SHA-1
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 5<<4
	id[8] = id[8]&0x3f | 0x80
	return id
}
