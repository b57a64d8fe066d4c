package rawhttp

import (
	"bytes"
	"fmt"
	"strconv"
)

// Post builds a POST request. header consists of complete lines, each with \r\n at the end.
func Post(path, host, header, body string) []byte {
	var b []byte
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n"...)
	b = append(b, header...)
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// Slot returns the part of a request that is the placeholder. The caller may overwrite it with a
// text of the same length. Slot panics unless the placeholder occurs once.
func Slot(request []byte, placeholder string) []byte {
	i := bytes.Index(request, []byte(placeholder))
	n := bytes.Count(request, []byte(placeholder))
	if n != 1 {
		panic(fmt.Sprintf("the request must contain %q once, but contains it %d times", placeholder, n))
	}
	return request[i : i+len(placeholder) : i+len(placeholder)]
}

// PutNumber fills a slot with a decimal number and leading zeros. It drops the leading digits if
// the slot is too short.
func PutNumber(slot []byte, n uint64) {
	for i := len(slot) - 1; i >= 0; i-- {
		slot[i] = byte('0' + n%10)
		n /= 10
	}
}
