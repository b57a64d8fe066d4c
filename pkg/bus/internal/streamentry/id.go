package streamentry

import "strconv"

// ID is the id of a stream entry. The zero ID is before all entries.
type ID struct{ Millis, Number uint64 }

func (id ID) String() string {
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.Number, 10)
}

// Less reports whether the id is before the other one.
func (id ID) Less(other ID) bool {
	return id.Millis < other.Millis || (id.Millis == other.Millis && id.Number < other.Number)
}

// MinusMillis returns the first id of the millisecond that is millis earlier.
func (id ID) MinusMillis(millis uint64) ID {
	return ID{Millis: id.Millis - min(id.Millis, millis)}
}

// ParseID parses an entry id, such as 1526919030474-55.
func ParseID(b []byte) (id ID, ok bool) {
	for i, c := range b {
		if c != '-' {
			continue
		}

		id.Millis, ok = parseUint(b[:i])
		if !ok {
			return ID{}, false
		}

		id.Number, ok = parseUint(b[i+1:])
		return id, ok
	}

	return ID{}, false
}

// parseUint parses up to 19 digits, which always fit into a uint64.
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

// ParseNumber parses a number of an entry's field. It returns -1 if the number is invalid.
func ParseNumber(b []byte) int64 {
	n, ok := parseUint(b)
	if !ok || n > 1<<62 {
		return -1
	}
	return int64(n) //nolint:gosec // checked
}
