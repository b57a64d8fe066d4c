// Package resp reads replies of Redis as they came over the wire.
package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// The tail takes replies as Redis sent them and cuts entries out of that one
// buffer. go-redis' own parser makes a map, a string for each name and value and an
// interface for each value: some 45 objects for each entry.

var ErrProtocol = errors.New("unexpected reply of Redis")

// Error is an error that Redis answered, such as "LOADING Redis is loading …".
type Error string

func (e Error) Error() string { return string(e) }

// Redirected tells that a cluster node sent us elsewhere.
func (e Error) Redirected() bool {
	return bytes.HasPrefix([]byte(e), []byte("MOVED ")) || bytes.HasPrefix([]byte(e), []byte("ASK "))
}

// Cursor is a cursor over a RESP2 or RESP3 reply. The first error sticks.
type Cursor struct {
	B   []byte
	Err error
}

// ReadHeader reads a line and returns its kind and its number; null is -1.
func (r *Cursor) ReadHeader() (kind byte, n int) {
	if r.Err != nil {
		return 0, 0
	}
	end := bytes.IndexByte(r.B, '\n')
	if end < 2 {
		r.Err = fmt.Errorf("%w: %.60q", ErrProtocol, r.B)
		return 0, 0
	}
	kind, digits := r.B[0], r.B[1:end-1]
	rest := r.B[end+1:]
	switch {
	case kind == '-':
		r.Err = Error(digits)
		return 0, 0
	case kind == '_' || (len(digits) == 2 && digits[0] == '-' && digits[1] == '1'):
		r.B = rest
		return kind, -1
	}
	for _, c := range digits {
		if c < '0' || c > '9' || n > 1<<40 {
			r.Err = fmt.Errorf("%w: %.60q", ErrProtocol, r.B)
			return 0, 0
		}
		n = 10*n + int(c-'0')
	}
	r.B = rest
	return kind, n
}

// ReadArray returns the number of elements that follow; null has none. A map counts its pairs.
func (r *Cursor) ReadArray() (n int, isMap bool) {
	kind, n := r.ReadHeader()
	if r.Err == nil && kind != '*' && kind != '%' && kind != '_' {
		r.Err = fmt.Errorf("%w: a %q where an array belongs", ErrProtocol, kind)
	}
	// An element takes at least three bytes: a count beyond that is no count.
	if r.Err == nil && n > len(r.B) {
		r.Err = fmt.Errorf("%w: an array of %d in %d bytes", ErrProtocol, n, len(r.B))
	}
	if r.Err != nil {
		return 0, false
	}
	return max(n, 0), kind == '%'
}

// ReadString returns a string, as a part of the reply.
func (r *Cursor) ReadString() []byte {
	kind, n := r.ReadHeader()
	if r.Err != nil {
		return nil
	}
	if kind != '$' || n < 0 || n+2 > len(r.B) {
		r.Err = fmt.Errorf("%w: a %q where a string belongs", ErrProtocol, kind)
		return nil
	}
	s := r.B[:n:n]
	r.B = r.B[n+2:]
	return s
}
