package bus

// NestsDeeper reports whether an array or object in data nests deeper than limit. An object in an
// array in an object is at level 3.
//
// It is meant for data that a parser has not seen, because parsers recurse or allocate for each
// level. It only counts brackets outside strings and allocates nothing. Whether data is JSON is for
// the parser to say.
func NestsDeeper(data []byte, limit int) bool {
	return FindDeeper(data, limit) >= 0
}

// FindDeeper returns the offset of the first array or object in data that nests deeper than limit
// and is not part of another one. It returns -1 if there is none. It is like NestsDeeper otherwise.
func FindDeeper(data []byte, limit int) int {
	offset := 0
	for {
		start, end, deeper := ScanValue(data[offset:], limit)
		switch {
		case deeper:
			return offset + start
		case offset+end == len(data):
			return -1
		}

		offset += end
	}
}

// ScanValue scans the first array or object in data. It returns the offsets of its start and its
// end. If it nests deeper than limit, ScanValue stops there, and end is the offset of the bracket
// that is too deep. If the array or object is incomplete, or if there is none, end is len(data). It
// is like NestsDeeper otherwise.
func ScanValue(data []byte, limit int) (start, end int, deeper bool) {
	depth := 0
	inString := false
	start = len(data)
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++ // the next byte is escaped
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth == 0 {
				start = i
			}

			depth++
			if depth > limit {
				return start, i, true
			}
		case c == '}' || c == ']':
			if depth == 1 {
				return start, i + 1, false
			}

			depth = max(0, depth-1)
		}
	}

	return start, len(data), false
}
