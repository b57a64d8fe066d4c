package protocol

import (
	"bytes"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// MaxAuthBytes is the maximum size of the auth frame of a client that has not authenticated. A
// token has at most 8 KiB.
const MaxAuthBytes = 9 << 10

// authNesting is how deep an auth frame nests: its members are texts.
const authNesting = 1

// ParseAuthFrame parses the first frame of a message of a client that has not authenticated. Only
// auth is valid then. For anything else it returns false, and it parses as little as possible,
// because anybody can send it. rest has the frames after the auth frame; it may be empty.
func ParseAuthFrame(message []byte) (token string, rest []byte, ok bool) {
	message = trimSpace(message)
	_, end, deeper := bus.ScanValue(message, authNesting)
	if deeper || end > MaxAuthBytes {
		return "", nil, false
	}

	var f struct {
		Op    string `json:"op"`
		Token string `json:"token"`
	}
	err := jsonv2.Unmarshal(message[:end], &f, strictOptions)
	if err != nil || f.Op != OpAuth {
		return "", nil, false
	}

	return f.Token, trimSpace(message[end:]), true
}

// trimSpace removes the white space of JSON.
func trimSpace(message []byte) []byte {
	return bytes.Trim(message, " \t\r\n")
}
