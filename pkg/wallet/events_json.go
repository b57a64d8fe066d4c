package wallet

import (
	"bytes"
	"encoding/json"
	"strconv"
)

const (
	payloadSize = 640  // upper bound of a payload without metadata, in bytes
	bufferSize  = 2048 // room for the three events of a hold, half a kilobyte each
)

// openPayload starts a payload after the previous ones in the buffer. It replaces a full buffer.
func (w *eventWriter) openPayload(id, eventType string) []byte {
	size := payloadSize + len(w.metadata)
	if cap(w.buf)-len(w.buf) < size {
		w.buf = make([]byte, 0, max(size, bufferSize))
	}

	b := w.buf[len(w.buf):]
	b = append(b, `{"eventId":"`...)
	b = append(b, id...)
	b = append(b, `","eventType":"`...)
	b = append(b, eventType...)
	b = append(b, `","timestamp":"`...)
	b = append(b, w.timestamp...)
	b = append(b, `","transactionId":"`...)
	b = append(b, w.transactionID...)
	b = append(b, `","reason":"`...)
	b = append(b, w.tx.Reason...)
	return append(b, `","source":"wallet-core","version":"1.0"`...)
}

// closePayload ends a payload. The next payload starts after it.
func (w *eventWriter) closePayload(b []byte) []byte {
	if w.tx.CorrelationID != "" {
		b = appendField(b, "correlationId", w.tx.CorrelationID)
	}

	if w.metadata != nil {
		b = append(b, `,"metadata":`...)
		b = append(b, w.metadata...)
	}

	b = append(b, '}')
	isInBuffer := cap(b) == cap(w.buf)-len(w.buf)
	if isInBuffer {
		w.buf = w.buf[:len(w.buf)+len(b)]
	}

	return b[:len(b):len(b)]
}

// removeLineBreaks removes line breaks between the tokens of metadata. A line break would end a
// frame of a message and a field of a server-sent event.
func removeLineBreaks(metadata json.RawMessage) []byte {
	hasLineBreak := bytes.IndexByte(metadata, '\n') >= 0 || bytes.IndexByte(metadata, '\r') >= 0
	if !hasLineBreak {
		return metadata
	}

	var b bytes.Buffer
	_ = json.Compact(&b, metadata) // never fails, because Op.Validate accepted the metadata
	return b.Bytes()
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = appendFieldName(b, name)
	return strconv.AppendInt(b, n, 10)
}

func appendField(b []byte, name, value string) []byte {
	b = appendFieldName(b, name)
	return appendJSONString(b, value)
}

func appendFieldName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendJSONString appends s as a JSON string. Almost all strings are plain ASCII and are copied.
func appendJSONString(b []byte, s string) []byte {
	if !isPlainASCII(s) {
		quoted, _ := json.Marshal(s) // never fails for a string
		return append(b, quoted...)
	}

	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// isPlainASCII reports whether s consists of ASCII characters that JSON does not escape.
func isPlainASCII(s string) bool {
	for i := range len(s) {
		c := s[i]
		isPrintable := c >= ' ' && c <= '~'
		if !isPrintable || c == '"' || c == '\\' {
			return false
		}
	}

	return true
}
