// Package resp reads raw Redis replies in place. Only the tail uses it.
package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// The tail takes replies as Redis sent them and cuts entries out of that one
// buffer. go-redis' own parser makes a map, a string for each name and value and an
// interface for each value: some 45 objects for each entry.

// ErrProtocol is the error of a reply that is not what the command answers.
var ErrProtocol = errors.New("unexpected reply of Redis")

// Error is an error that Redis answered, such as "LOADING Redis is loading …".
type Error string

func (e Error) Error() string { return string(e) }

// redirected tells that a cluster node sent us elsewhere.
func (e Error) redirected() bool {
	return bytes.HasPrefix([]byte(e), []byte("MOVED ")) || bytes.HasPrefix([]byte(e), []byte("ASK "))
}

// Cursor is a cursor over a RESP2 or RESP3 reply. The first error sticks.
type Cursor struct {
	Rest []byte
	Err  error
}

// Header reads a line and returns its kind and its number; null is -1.
func (r *Cursor) Header() (kind byte, n int) {
	if r.Err != nil {
		return 0, 0
	}
	end := bytes.IndexByte(r.Rest, '\n')
	if end < 2 {
		r.Err = fmt.Errorf("%w: %.60q", ErrProtocol, r.Rest)
		return 0, 0
	}
	kind, digits := r.Rest[0], r.Rest[1:end-1]
	rest := r.Rest[end+1:]
	switch {
	case kind == '-':
		r.Err = Error(digits)
		return 0, 0
	case kind == '_' || (len(digits) == 2 && digits[0] == '-' && digits[1] == '1'):
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

// Array returns the number of elements that follow; null has none. A map counts its pairs.
func (r *Cursor) Array() (n int, isMap bool) {
	kind, n := r.Header()
	if r.Err == nil && kind != '*' && kind != '%' && kind != '_' {
		r.Err = fmt.Errorf("%w: a %q where an array belongs", ErrProtocol, kind)
	}
	// An element takes at least three bytes: a count beyond that is no count.
	if r.Err == nil && n > len(r.Rest) {
		r.Err = fmt.Errorf("%w: an array of %d in %d bytes", ErrProtocol, n, len(r.Rest))
	}
	if r.Err != nil {
		return 0, false
	}
	return max(n, 0), kind == '%'
}

// Bulk returns a string, as a part of the reply.
func (r *Cursor) Bulk() []byte {
	kind, n := r.Header()
	if r.Err != nil {
		return nil
	}
	if kind != '$' || n < 0 || n+2 > len(r.Rest) {
		r.Err = fmt.Errorf("%w: a %q where a string belongs", ErrProtocol, kind)
		return nil
	}
	s := r.Rest[:n:n]
	r.Rest = r.Rest[n+2:]
	return s
}

// IsRedirection reports whether a cluster node answered that another one has the key.
func IsRedirection(err error) bool {
	var answer Error
	return errors.As(err, &answer) && answer.redirected()
}
