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

var errFrame = errors.New("the server sent an invalid frame")

// nextFrame cuts the first frame off b. ok is false if the frame is not complete. Frames of a
// server have no mask, and the servers here do not fragment messages.
func nextFrame(b []byte) (op byte, payload, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}

	isWhole := b[0]&0xf0 == 0x80
	isMasked := b[1]&0x80 != 0
	if !isWhole || isMasked {
		return 0, nil, b, false, errFrame
	}

	size := uint64(b[1])
	head := 2
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

	end := head + int(size) //nolint:gosec // at most maxMessage
	if len(b) < end {
		return 0, nil, b, false, nil
	}
	return b[0] & 0x0f, b[head:end], b[end:], true, nil
}

// maxMessage is larger than any message of the servers here.
const maxMessage = 64 << 20

// appendFrame appends a frame of a client. Its mask is zero, which is a valid mask and does not
// change the payload.
func appendFrame(dst []byte, op byte, payload string) []byte {
	const masked = 0x80
	dst = append(dst, 0x80|op)
	switch size := len(payload); {
	case size < 126:
		dst = append(dst, masked|byte(size))
	case size < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(size)) //nolint:gosec // less than 1<<16
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(size))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}
