package tail

import (
	"slices"
	"testing"
)

// The parser must not panic, and must not return more deliveries than the reply has entries.
func FuzzParseReply(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*4\r\n$2\r\nid\r\n$1\r\nx\r\n$3\r\nseq\r\n$1\r\n7\r\n"))
	f.Add([]byte("%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$4\r\ndata\r\n$2\r\n{}\r\n"))
	f.Add([]byte("*-1\r\n"))
	f.Add([]byte("_\r\n"))
	f.Add([]byte("-MOVED 3999 127.0.0.1:6381\r\n"))
	f.Add([]byte("*99999999999999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reader{byKey: map[string]int{"s": 0}, positions: make([]position, 1)}
		err := r.parseReply(slices.Clone(data))
		deliveries := len(r.decoder.Deliveries)
		entries := r.positions[0].found
		if err == nil && deliveries > entries {
			t.Errorf("got %d deliveries of %d entries", deliveries, entries)
		}
	})
}
