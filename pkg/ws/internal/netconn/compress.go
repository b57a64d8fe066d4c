package netconn

import (
	"bytes"
	"compress/flate"
)

const (
	// minCompressed is the least size of a message that is worth compressing. An event has some 350
	// bytes.
	minCompressed = 256
	// compressedBit is the bit RSV1 of a frame header (RFC 7692 section 6).
	compressedBit = 0x40
	// syncTail is the length of the end of a flushed block, which is left out on the wire (RFC 7692
	// section 7.2.1).
	syncTail = 4
)

// compressors compress messages, each by itself (no context takeover). So a connection keeps
// nothing between messages, and the compressors, which take some 1 MB each, are few. A writer that
// finds them busy waits for the processor, never for a client.
type compressors struct {
	idle chan *compressor // a nil one is not made yet
}

type compressor struct {
	w   *flate.Writer
	out bytes.Buffer
}

func newCompressors(n int) *compressors {
	c := &compressors{idle: make(chan *compressor, n)}
	for range n {
		c.idle <- nil
	}
	return c
}

// compress replaces the message that dst ends with by its compressed form, if that is shorter. The
// message begins at start, and its payload has that size.
func (c *compressors) compress(dst []byte, start, size int) []byte {
	if size < minCompressed {
		return dst
	}
	one := <-c.idle
	defer func() { c.idle <- one }()
	if one == nil {
		one = new(compressor)
		one.w, _ = flate.NewWriter(&one.out, flate.BestSpeed) // fails for unknown levels only
	}
	one.out.Reset()
	one.w.Reset(&one.out)
	_, _ = one.w.Write(dst[len(dst)-size:]) // a bytes.Buffer takes everything
	_ = one.w.Flush()
	short := one.out.Len() - syncTail
	if short >= size {
		return dst
	}
	dst = appendHeader(dst[:start], textFrame|compressedBit, short)
	return append(dst, one.out.Bytes()[:short]...)
}
