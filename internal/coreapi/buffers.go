package coreapi

import "sync"

// buffers has the buffers for the bodies of requests and answers. Small and large ones are apart, so
// that a small request never keeps a large buffer.
type buffers struct {
	small sync.Pool
	large sync.Pool
}

// maxKeptBuffer is the capacity of the largest buffer that is kept for later calls. The answer to a
// batch fits into it.
const maxKeptBuffer = maxBody

// getBuffer returns an empty buffer for a body of about the given size.
func (b *buffers) getBuffer(size int) *[]byte {
	pool := &b.small
	capacity := 1024
	if size >= minTransfer {
		pool = &b.large
		capacity = 4 * minTransfer
	}

	p, ok := pool.Get().(*[]byte)
	if ok {
		return p
	}
	buffer := make([]byte, 0, capacity)
	return &buffer
}

func (b *buffers) putBuffer(p *[]byte) {
	pool := &b.small
	switch {
	case cap(*p) > maxKeptBuffer:
		return
	case cap(*p) > 2*minTransfer: // the body of a small request is read into less
		pool = &b.large
	}
	*p = (*p)[:0]
	pool.Put(p)
}

// newBody returns the call's buffer with length zero. The answer overwrites the request's body.
func (c *call) newBody() []byte { return (*c.buffer)[:0] }

// newBodyFor is newBody for a body of about the given size.
func (c *call) newBodyFor(size int) []byte {
	if size >= minTransfer && cap(*c.buffer) < size {
		c.api.buffers.putBuffer(c.buffer)
		c.buffer = c.api.buffers.getBuffer(size)
	}
	return c.newBody()
}

// maxSurplus is the capacity that the buffer of an answer may have for each of its bytes.
const maxSurplus = 4

// keepBody makes an answer the call's buffer while it is sent. If the buffer is much too large, it
// is replaced, since a slow client can keep it for long.
func (c *call) keepBody(body []byte) []byte {
	*c.buffer = body
	isMuchTooLarge := cap(body) > 2*minTransfer && cap(body) > maxSurplus*len(body)
	if !isMuchTooLarge {
		return body
	}

	exact := append(make([]byte, 0, len(body)), body...)
	c.api.buffers.putBuffer(c.buffer)
	c.buffer = &exact
	return exact
}
