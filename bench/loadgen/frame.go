//go:build linux

package loadgen

import (
	"encoding/binary"
	"errors"
)

// Opcodes of WebSocket frames (RFC 6455 section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

var errFrame = errors.New("the server sent a frame that it must not send")

// next cuts the first frame off what was read. ok is false when it is not all
// there. A server's frames carry no mask, and the servers here never send a
// message in parts.
func next(b []byte) (op byte, payload, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return 0, nil, b, false, errFrame
	}
	size, head := uint64(b[1]), 2
	switch size {
	case 126:
		head = 4
		if len(b) < head {
			return 0, nil, b, false, nil
		}
		size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		head = 10
		if len(b) < head {
			return 0, nil, b, false, nil
		}
		size = binary.BigEndian.Uint64(b[2:])
	}
	if size > maxMessage {
		return 0, nil, b, false, errFrame
	}
	end := head + int(size) //nolint:gosec // just checked
	if len(b) < end {
		return 0, nil, b, false, nil
	}
	return b[0] & 0x0f, b[head:end], b[end:], true, nil
}

// maxMessage is more than any message of the servers here.
const maxMessage = 64 << 20

// frame makes a client's frame. Its mask is zero, which is a mask like any other
// and leaves the payload as it is.
func frame(dst []byte, op byte, payload string) []byte {
	const masked = 0x80
	dst = append(dst, 0x80|op)
	switch size := len(payload); {
	case size < 126:
		dst = append(dst, masked|byte(size))
	case size < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(size)) //nolint:gosec // just checked
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(size))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}
