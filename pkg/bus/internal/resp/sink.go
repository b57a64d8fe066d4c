package resp

import (
	"bytes"
	"io"
	"slices"
)

// Sink takes a reply in, as Redis sent it. Its space is used for the next reply
// again, so a read neither grows a buffer step by step nor faults in new pages:
// with go-redis' own raw reply those cost more than everything else.
type Sink struct{ B []byte }

// maxSink is how much space a Sink keeps between replies.
const maxSink = 32 << 20

// Take returns a copy of the reply, exactly as large as it is, and makes room for the next.
func (s *Sink) Take() []byte {
	reply := bytes.Clone(s.B)
	s.Reset()
	return reply
}

func (s *Sink) Reset() {
	if cap(s.B) > maxSink {
		s.B = nil
	}
	s.B = s.B[:0]
}

// Write implements io.Writer.
func (s *Sink) Write(p []byte) (int, error) {
	s.B = append(s.B, p...)
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom, for io.CopyN, which go-redis calls for each
// string: without it each would pass through a buffer of 32 KiB made for it.
func (s *Sink) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, r)
	}
	start, n := len(s.B), int(limited.N)
	s.B = slices.Grow(s.B, n)[:start+n]
	got, err := io.ReadFull(limited.R, s.B[start:])
	s.B = s.B[:start+got]
	limited.N -= int64(got)
	return int64(got), err
}
