package resp

import (
	"bytes"
	"io"
	"slices"
)

// Sink takes a reply in, as Redis sent it. Its space is used for the next reply
// again, so a read neither grows a buffer step by step nor faults in new pages:
// with go-redis' own raw reply those cost more than everything else.
type Sink struct{ Bytes []byte }

// maxSink is how much space a sink keeps between replies.
const maxSink = 32 << 20

// Take returns a copy of the reply, exactly as large as it is, and makes room for the next.
func (s *Sink) Take() []byte {
	reply := bytes.Clone(s.Bytes)
	s.Reset()
	return reply
}

// Reset empties the sink and keeps its space.
func (s *Sink) Reset() {
	if cap(s.Bytes) > maxSink {
		s.Bytes = nil
	}
	s.Bytes = s.Bytes[:0]
}

// Write implements io.Writer.
func (s *Sink) Write(p []byte) (int, error) {
	s.Bytes = append(s.Bytes, p...)
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom, for io.CopyN, which go-redis calls for each
// string: without it each would pass through a buffer of 32 KiB made for it.
func (s *Sink) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, r)
	}
	start, n := len(s.Bytes), int(limited.N)
	s.Bytes = slices.Grow(s.Bytes, n)[:start+n]
	got, err := io.ReadFull(limited.R, s.Bytes[start:])
	s.Bytes = s.Bytes[:start+got]
	limited.N -= int64(got)
	return int64(got), err
}
