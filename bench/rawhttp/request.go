package rawhttp

import (
	"bytes"
	"fmt"
	"strconv"
)

// Post builds a request. Header holds whole lines, each ended by \r\n.
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

// Slot is the part of a request that holds the placeholder, to be overwritten
// with text of the same length. It panics unless there is exactly one.
func Slot(request []byte, placeholder string) []byte {
	i := bytes.Index(request, []byte(placeholder))
	if n := bytes.Count(request, []byte(placeholder)); n != 1 {
		panic(fmt.Sprintf("the request holds %q %d times, want once", placeholder, n))
	}
	return request[i : i+len(placeholder) : i+len(placeholder)]
}

// PutNumber fills a slot with a number, zeros in front. Digits that do not fit
// are lost.
func PutNumber(slot []byte, n uint64) {
	for i := len(slot) - 1; i >= 0; i-- {
		slot[i] = byte('0' + n%10)
		n /= 10
	}
}
