package bus

import (
	"bytes"
	"io"
	"slices"
)

// sink takes a reply in, as Redis sent it. Its space is used for the next reply
// again, so a read neither grows a buffer step by step nor faults in new pages:
// with go-redis' own raw reply those cost more than everything else.
type sink struct{ b []byte }

// maxSink is how much space a sink keeps between replies.
const maxSink = 32 << 20

// take returns a copy of the reply, exactly as large as it is, and makes room for the next.
func (s *sink) take() []byte {
	reply := bytes.Clone(s.b)
	s.reset()
	return reply
}

func (s *sink) reset() {
	if cap(s.b) > maxSink {
		s.b = nil
	}
	s.b = s.b[:0]
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom, for io.CopyN, which go-redis calls for each
// string: without it each would pass through a buffer of 32 KiB made for it.
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, r)
	}
	start, n := len(s.b), int(limited.N)
	s.b = slices.Grow(s.b, n)[:start+n]
	got, err := io.ReadFull(limited.R, s.b[start:])
	s.b = s.b[:start+got]
	limited.N -= int64(got)
	return int64(got), err
}
