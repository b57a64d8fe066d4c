// Package resp reads raw Redis replies in place, for the tail.
package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// The tail reads replies as Redis sent them and slices the entries out of one buffer. The parser of
// go-redis allocates a map, a string for each name and value, and an interface for each value,
// which is about 45 objects for each entry.

// ErrProtocol is returned if a reply does not have the format of the command's reply.
var ErrProtocol = errors.New("unexpected reply from Redis")

// Error is an error reply, such as "LOADING Redis is loading the dataset in memory".
type Error string

func (e Error) Error() string { return string(e) }

// isRedirection reports whether a cluster node answered that another node has the key.
func (e Error) isRedirection() bool {
	return bytes.HasPrefix([]byte(e), []byte("MOVED ")) || bytes.HasPrefix([]byte(e), []byte("ASK "))
}

// Cursor reads a RESP2 or RESP3 reply. After the first error all reads return zero values.
type Cursor struct {
	Rest []byte // the part that was not read yet
	Err  error  // the first error
}

// ReadHeader reads a line and returns its kind and its number. The number of null is -1.
func (r *Cursor) ReadHeader() (kind byte, n int) {
	if r.Err != nil {
		return 0, 0
	}

	end := bytes.IndexByte(r.Rest, '\n')
	if end < 2 {
		r.Err = fmt.Errorf("%w: %.60q", ErrProtocol, r.Rest)
		return 0, 0
	}

	kind = r.Rest[0]
	digits := r.Rest[1 : end-1]
	rest := r.Rest[end+1:]
	if kind == '-' {
		r.Err = Error(digits)
		return 0, 0
	}

	isMinusOne := len(digits) == 2 && digits[0] == '-' && digits[1] == '1'
	if kind == '_' || isMinusOne {
		r.Rest = rest
		return kind, -1
	}

	for _, c := range digits {
		if c < '0' || c > '9' || n > 1<<40 {
			r.Err = fmt.Errorf("%w: %.60q", ErrProtocol, r.Rest)
			return 0, 0
		}

		n = 10*n + int(c-'0')
	}

	r.Rest = rest
	return kind, n
}

// ReadArray reads the header of an array or a map. It returns the number of elements or of pairs;
// null has none.
func (r *Cursor) ReadArray() (n int, isMap bool) {
	kind, n := r.ReadHeader()
	if r.Err != nil {
		return 0, false
	}

	if kind != '*' && kind != '%' && kind != '_' {
		r.Err = fmt.Errorf("%w: got %q, want an array", ErrProtocol, kind)
		return 0, false
	}

	// An element takes at least three bytes, so a larger number is invalid.
	if n > len(r.Rest) {
		r.Err = fmt.Errorf("%w: an array of %d elements in %d bytes", ErrProtocol, n, len(r.Rest))
		return 0, false
	}

	return max(n, 0), kind == '%'
}

// ReadBulk reads a string. The result is a part of the reply.
func (r *Cursor) ReadBulk() []byte {
	kind, n := r.ReadHeader()
	if r.Err != nil {
		return nil
	}

	if kind != '$' || n < 0 || n+2 > len(r.Rest) {
		r.Err = fmt.Errorf("%w: got %q, want a string", ErrProtocol, kind)
		return nil
	}

	s := r.Rest[:n:n]
	r.Rest = r.Rest[n+2:]
	return s
}

// IsRedirection reports whether a cluster node answered that another node has the key.
func IsRedirection(err error) bool {
	var reply Error
	return errors.As(err, &reply) && reply.isRedirection()
}
