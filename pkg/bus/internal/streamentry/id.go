// Package streamentry knows what an entry of an event stream looks like.
package streamentry

import (
	"fmt"
	"strconv"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// ID is a stream entry's id; zero is before all entries.
type ID struct{ Millis, N uint64 }

// String returns the id as Redis writes it.
func (id ID) String() string {
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.N, 10)
}

// Less reports whether id is older than other.
func (id ID) Less(other ID) bool {
	return id.Millis < other.Millis || (id.Millis == other.Millis && id.N < other.N)
}

// Back returns an id that is older by as many milliseconds.
func (id ID) Back(millis uint64) ID {
	return ID{Millis: id.Millis - min(id.Millis, millis)}
}

// ParseID reads an id that has both its numbers; ok is false for anything else.
func ParseID(b []byte) (id ID, ok bool) {
	for i, c := range b {
		if c == '-' {
			id.Millis, ok = parseUint(b[:i])
			if !ok {
				return ID{}, false
			}
			id.N, ok = parseUint(b[i+1:])
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

// LastID returns the id of the first message of a reply that was asked for one message; zero: there is none.
func LastID(messages []redis.XMessage) (ID, error) {
	if len(messages) == 0 {
		return ID{}, nil
	}
	id, ok := ParseID([]byte(messages[0].ID))
	if !ok {
		return ID{}, fmt.Errorf("%w: entry id %q", resp.ErrProtocol, messages[0].ID)
	}
	return id, nil
}

// ParseAmount returns -1 for what is no number of ours.
func ParseAmount(b []byte) int64 {
	n, ok := parseUint(b)
	if !ok || n > 1<<62 {
		return -1
	}
	return int64(n) //nolint:gosec // checked
}

// Text is string(b) without the copy. Nobody writes to b while the
// string lives: payloads do not change once they are committed, nor does what
// was read from Redis.
func Text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
