package bus

import (
	"bytes"
	"errors"
	"fmt"
)

// The tail takes replies as Redis sent them and cuts entries out of that one
// buffer. go-redis' own parser makes a map, a string for each name and value and an
// interface for each value: some 45 objects for each entry.

var errProtocol = errors.New("unexpected reply of Redis")

// replyError is an error that Redis answered, such as "LOADING Redis is loading …".
type replyError string

func (e replyError) Error() string { return string(e) }

// redirected tells that a cluster node sent us elsewhere.
func (e replyError) redirected() bool {
	return bytes.HasPrefix([]byte(e), []byte("MOVED ")) || bytes.HasPrefix([]byte(e), []byte("ASK "))
}

// reply is a cursor over a RESP2 or RESP3 reply. The first error sticks.
type reply struct {
	b   []byte
	err error
}

// header reads a line and returns its kind and its number; null is -1.
func (r *reply) header() (kind byte, n int) {
	if r.err != nil {
		return 0, 0
	}
	end := bytes.IndexByte(r.b, '\n')
	if end < 2 {
		r.err = fmt.Errorf("%w: %.60q", errProtocol, r.b)
		return 0, 0
	}
	kind, digits := r.b[0], r.b[1:end-1]
	rest := r.b[end+1:]
	switch {
	case kind == '-':
		r.err = replyError(digits)
		return 0, 0
	case kind == '_' || (len(digits) == 2 && digits[0] == '-' && digits[1] == '1'):
		r.b = rest
		return kind, -1
	}
	for _, c := range digits {
		if c < '0' || c > '9' || n > 1<<40 {
			r.err = fmt.Errorf("%w: %.60q", errProtocol, r.b)
			return 0, 0
		}
		n = 10*n + int(c-'0')
	}
	r.b = rest
	return kind, n
}

// array returns the number of elements that follow; null has none. A map counts its pairs.
func (r *reply) array() (n int, isMap bool) {
	kind, n := r.header()
	if r.err == nil && kind != '*' && kind != '%' && kind != '_' {
		r.err = fmt.Errorf("%w: a %q where an array belongs", errProtocol, kind)
	}
	// An element takes at least three bytes: a count beyond that is no count.
	if r.err == nil && n > len(r.b) {
		r.err = fmt.Errorf("%w: an array of %d in %d bytes", errProtocol, n, len(r.b))
	}
	if r.err != nil {
		return 0, false
	}
	return max(n, 0), kind == '%'
}

// bulk returns a string, as a part of the reply.
func (r *reply) bulk() []byte {
	kind, n := r.header()
	if r.err != nil {
		return nil
	}
	if kind != '$' || n < 0 || n+2 > len(r.b) {
		r.err = fmt.Errorf("%w: a %q where a string belongs", errProtocol, kind)
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n+2:]
	return s
}
