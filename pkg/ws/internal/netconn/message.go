package netconn

import "encoding/binary"

// maxJoined is the maximum number of frames in a message. Joining frames saves work for each
// message, on both sides. Larger numbers save nothing more.
const maxJoined = 16

// WebSocket frame headers of a server: final and unmasked (RFC 6455 section 5.2).
const (
	textFrame = 0x81
	pingFrame = 0x89
)

// appendMessages appends the items as text messages and pings. A message has up to maxJoined
// frames, separated by newlines. If c is nil, nothing is compressed.
func appendMessages(dst []byte, items []Item, c *compressors) []byte {
	for len(items) > 0 {
		if items[0].Frame == nil {
			dst = append(dst, pingFrame, 0)
			items = items[1:]
			continue
		}

		joined := 0
		size := -1 // there is one newline less than there are frames
		for joined < len(items) && joined < maxJoined && items[joined].Frame != nil {
			size += 1 + len(items[joined].Frame)
			joined++
		}

		start := len(dst)
		dst = appendHeader(dst, textFrame, size)
		for i := range joined {
			if i > 0 {
				dst = append(dst, '\n')
			}

			dst = append(dst, items[i].Frame...)
		}
		if c != nil {
			dst = c.compressMessage(dst, start, size)
		}

		items = items[joined:]
	}

	return dst
}

// appendHeader appends a frame header for a payload of size bytes.
func appendHeader(dst []byte, first byte, size int) []byte {
	switch {
	case size < 126:
		return append(dst, first, byte(size))
	case size < 1<<16:
		dst = append(dst, first, 126)
		return binary.BigEndian.AppendUint16(dst, uint16(size)) //nolint:gosec // size < 1<<16
	}

	dst = append(dst, first, 127)
	return binary.BigEndian.AppendUint64(dst, uint64(size)) //nolint:gosec // size is positive
}
