package ws

import (
	"bytes"
	"compress/flate"
)

const (
	// leastDeflated is the size of a message from which on compression is worth it: an event
	// has some 350 bytes.
	leastDeflated = 256
	// compressed is the bit RSV1 of a frame header (RFC 7692 section 6).
	compressed = 0x40
	// syncTail ends a flushed block and is left out on the wire (RFC 7692 section 7.2.1).
	syncTail = 4
)

// deflaters compress messages, each by itself (no context takeover): a connection keeps
// nothing between messages, and the compressors, which take some 1 MB each, are few. Who
// finds them busy waits for the processor, never for a client.
type deflaters struct {
	places chan *deflater // nil in it: not made yet
}

type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

func newDeflaters(n int) *deflaters {
	d := &deflaters{places: make(chan *deflater, n)}
	for range n {
		d.places <- nil
	}
	return d
}

// compress replaces the message that dst ends with, which begins at start and whose payload
// has that size, by its compressed form, if that is shorter.
func (d *deflaters) compress(dst []byte, start, size int) []byte {
	if size < leastDeflated {
		return dst
	}
	f := <-d.places
	defer func() { d.places <- f }()
	if f == nil {
		f = new(deflater)
		f.w, _ = flate.NewWriter(&f.out, flate.BestSpeed) // fails for levels that there are not
	}
	f.out.Reset()
	f.w.Reset(&f.out)
	_, _ = f.w.Write(dst[len(dst)-size:]) // a buffer takes all
	_ = f.w.Flush()
	short := f.out.Len() - syncTail
	if short >= size {
		return dst
	}
	return append(appendHeader(dst[:start], textFrame|compressed, short), f.out.Bytes()[:short]...)
}
