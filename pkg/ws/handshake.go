package ws

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
)

// handshake is what matters of a WebSocket handshake. All are parts of the request.
type handshake struct {
	host, origin, authorization []byte // empty: not there
	key                         []byte
	protocol                    bool   // wallet.v1 is offered, and nothing else
	extensions                  bool   // some are offered
	ahead                       []byte // what the client sent beyond it
}

// The headers of a handshake that matter, each of which may occur once.
const (
	seenHost = 1 << iota
	seenUpgrade
	seenConnection
	seenVersion
	seenKey
	seenProtocol
	seenOrigin
	seenAuthorization

	needed = seenHost | seenUpgrade | seenConnection | seenVersion | seenKey
)

// parseHandshake reads a request that begins with the line, if it is a handshake as
// clients write it that has arrived as a whole. It judges nothing: what it does not
// read is for net/http.
func parseHandshake(request []byte, line string) (hs handshake, ok bool) {
	if len(request) < len(line) || string(request[:len(line)]) != line {
		return hs, false
	}
	rest := request[len(line):]
	seen := 0
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 1 || rest[i-1] != '\r' {
			return hs, false
		}
		header := rest[:i-1]
		if rest = rest[i+1:]; len(header) == 0 {
			hs.ahead = rest
			return hs, seen&needed == needed
		}
		which, ok := hs.header(header)
		if !ok || seen&which != 0 {
			return hs, false
		}
		seen |= which
	}
}

// header reads one header line. which is zero for one that does not matter.
func (hs *handshake) header(line []byte) (which int, ok bool) {
	colon := bytes.IndexByte(line, ':')
	var space [32]byte
	if colon < 1 || colon > len(space) {
		return 0, false
	}
	name := space[:colon]
	for i, c := range line[:colon] {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case ('a' <= c && c <= 'z') || ('0' <= c && c <= '9') || c == '-':
		default:
			return 0, false
		}
		name[i] = c
	}
	value := bytes.Trim(line[colon+1:], " \t")
	for _, c := range value {
		if c < ' ' || c > '~' {
			return 0, false
		}
	}
	switch string(name) {
	case "host":
		hs.host = value
		return seenHost, plainHost(value)
	case "upgrade":
		return seenUpgrade, bytes.EqualFold(value, []byte("websocket"))
	case "connection":
		return seenConnection, listsUpgrade(value)
	case "sec-websocket-version":
		return seenVersion, string(value) == "13"
	case "sec-websocket-key":
		hs.key = value
		return seenKey, goodKey(value)
	case "sec-websocket-protocol":
		hs.protocol = true
		return seenProtocol, string(value) == Subprotocol
	case "sec-websocket-extensions":
		hs.extensions = true
	case "origin":
		hs.origin = value
		return seenOrigin, len(value) > 0
	case "authorization":
		hs.authorization = value
		return seenAuthorization, len(value) > 0
	case "content-length", "transfer-encoding", "trailer", "expect", "te", "http2-settings":
		return 0, false // not a handshake as clients write it
	}
	return 0, true
}

// plainHost is true for a name or address with or without a port.
func plainHost(host []byte) bool {
	for _, c := range host {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return len(host) > 0
}

// listsUpgrade tells whether a Connection header has the token Upgrade.
func listsUpgrade(value []byte) bool {
	for token := range bytes.SplitSeq(value, []byte(",")) {
		if bytes.EqualFold(bytes.TrimSpace(token), []byte("upgrade")) {
			return true
		}
	}
	return false
}

const (
	keyBytes   = 16
	keyLetters = 24
	// acceptGUID makes the answer to a key, RFC 6455 section 1.3.
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

func goodKey(key []byte) bool {
	if len(key) != keyLetters {
		return false
	}
	var decoded [keyLetters / 4 * 3]byte
	n, err := base64.StdEncoding.Decode(decoded[:], key)
	return err == nil && n == keyBytes
}

// answer is the 101 that the client waits for.
func (hs *handshake) answer() []byte {
	var text [keyLetters + len(acceptGUID)]byte
	sum := sha1.Sum(append(append(text[:0], hs.key...), acceptGUID...)) //nolint:gosec // RFC 6455 section 4.2.2
	b := make([]byte, 0, 192)
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	if hs.protocol {
		b = append(b, "\r\nSec-WebSocket-Protocol: "+Subprotocol...)
	}
	return append(b, "\r\n\r\n"...)
}
