package netconn

import (
	"bytes"
	"compress/flate"
)

const (
	// minCompressed is the minimum size of a message that is compressed, in bytes. An event has
	// about 350 bytes.
	minCompressed = 256
	// compressedBit is the bit RSV1 of a frame header (RFC 7692 section 6).
	compressedBit = 0x40
	// syncTail is the length of the end of a flushed block, which is not sent (RFC 7692 section
	// 7.2.1).
	syncTail = 4
)

// compressors is a pool of compressors. Each message is compressed independently (no context
// takeover), so a connection keeps no compressor between messages. A compressor takes about 1 MB,
// so there are few. A writer that finds none idle waits for the processor but never for a client.
type compressors struct {
	idle chan *compressor // nil: a compressor that is not created yet
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

func newCompressor() *compressor {
	z := new(compressor)
	z.w, _ = flate.NewWriter(&z.out, flate.BestSpeed) // fails only for unknown levels

	return z
}

// compressMessage replaces the message at the end of dst by its compressed form if that is shorter.
// start is the index of the message in dst, and size is the length of its payload.
func (c *compressors) compressMessage(dst []byte, start, size int) []byte {
	if size < minCompressed {
		return dst
	}

	z := <-c.idle
	defer func() { c.idle <- z }()
	if z == nil {
		z = newCompressor()
	}

	z.out.Reset()
	z.w.Reset(&z.out)
	_, _ = z.w.Write(dst[len(dst)-size:]) // writing to a bytes.Buffer never fails
	_ = z.w.Flush()

	compressedSize := z.out.Len() - syncTail
	if compressedSize >= size {
		return dst
	}

	dst = appendHeader(dst[:start], textFrame|compressedBit, compressedSize)
	return append(dst, z.out.Bytes()[:compressedSize]...)
}
