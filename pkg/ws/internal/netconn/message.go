package netconn

import "encoding/binary"

// maxJoined is how many frames share a message. Joining saves clients and us work for each message;
// beyond this number it saves nothing more.
const maxJoined = 16

// WebSocket frame headers of a server: final, unmasked (RFC 6455 section 5.2).
const (
	textFrame = 0x81
	pingFrame = 0x89
)

// appendMessages makes text messages of up to maxJoined frames each, joined by newlines, and pings.
// Without compressors nothing is compressed.
func appendMessages(dst []byte, items []Item, c *compressors) []byte {
	for len(items) > 0 {
		if items[0].Frame == nil {
			dst = append(dst, pingFrame, 0)
			items = items[1:]
			continue
		}
		joined := 0
		size := -1 // one newline less than frames
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
			dst = c.compress(dst, start, size)
		}
		items = items[joined:]
	}
	return dst
}

func appendHeader(dst []byte, first byte, size int) []byte {
	switch {
	case size < 126:
		return append(dst, first, byte(size))
	case size < 1<<16:
		dst = append(dst, first, 126)
		return binary.BigEndian.AppendUint16(dst, uint16(size)) //nolint:gosec // just checked
	}
	dst = append(dst, first, 127)
	return binary.BigEndian.AppendUint64(dst, uint64(size)) //nolint:gosec // sizes are positive
}
