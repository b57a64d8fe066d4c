package resp

import (
	"bytes"
	"io"
	"slices"
)

// Sink receives a reply as Redis sent it. It reuses its buffer for the next reply, so that a read
// does not grow a buffer step by step and does not touch new pages of memory. With the raw replies
// of go-redis these two cost more than everything else.
type Sink struct{ Bytes []byte }

// maxSink is the largest buffer that a sink keeps between replies.
const maxSink = 32 << 20

// CopyReply returns a copy of the reply of exactly its size, and resets the sink.
func (s *Sink) CopyReply() []byte {
	reply := bytes.Clone(s.Bytes)
	s.Reset()
	return reply
}

// Reset empties the sink and keeps its buffer.
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

// ReadFrom implements io.ReaderFrom for io.CopyN, which go-redis calls for each string. Without it,
// io.CopyN would allocate a buffer of 32 KiB for each string.
func (s *Sink) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, r)
	}

	start := len(s.Bytes)
	size := int(limited.N)
	s.Bytes = slices.Grow(s.Bytes, size)[:start+size]
	n, err := io.ReadFull(limited.R, s.Bytes[start:])
	s.Bytes = s.Bytes[:start+n]
	limited.N -= int64(n)

	return int64(n), err
}
