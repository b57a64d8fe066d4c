package tail

import (
	"slices"
	"testing"
)

// FuzzReply feeds replies to the parser: it must neither crash nor take more than is there.
func FuzzReply(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*4\r\n$2\r\nid\r\n$1\r\nx\r\n$3\r\nseq\r\n$1\r\n7\r\n"))
	f.Add([]byte("%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$4\r\ndata\r\n$2\r\n{}\r\n"))
	f.Add([]byte("*-1\r\n"))
	f.Add([]byte("_\r\n"))
	f.Add([]byte("-MOVED 3999 127.0.0.1:6381\r\n"))
	f.Add([]byte("*99999999999999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reader{byName: map[string]int{"s": 0}, parts: make([]position, 1)}
		if err := r.parse(slices.Clone(data)); err == nil && len(r.entries.Deliveries) > r.parts[0].found {
			t.Errorf("%d deliveries of %d entries", len(r.entries.Deliveries), r.parts[0].found)
		}
	})
}
