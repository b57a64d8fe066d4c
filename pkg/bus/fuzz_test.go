package bus

import (
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
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
		r := &tailReader{byName: map[string]int{"s": 0}, parts: make([]tailPosition, 1)}
		if err := r.parse(slices.Clone(data)); err == nil && len(r.entries.deliveries) > r.parts[0].found {
			t.Errorf("%d deliveries of %d entries", len(r.entries.deliveries), r.parts[0].found)
		}
	})
}

func TestReplyErrorsAreSeen(t *testing.T) {
	r := &tailReader{byName: map[string]int{}}
	if err := r.parse([]byte("-ASK 3999 127.0.0.1:6381\r\n")); !redirected(err) {
		t.Errorf("error %v is not seen as a redirection", err)
	}
	if err := r.parse([]byte("-LOADING Redis is loading\r\n")); err == nil || redirected(err) {
		t.Errorf("error %v", err)
	}
	for _, null := range []string{"*-1\r\n", "_\r\n", "*0\r\n"} {
		if err := r.parse([]byte(null)); err != nil {
			t.Errorf("%q: %v", null, err)
		}
	}
}

func TestTypedEntriesEqualRawOnes(t *testing.T) {
	raw := "*1\r\n*2\r\n$3\r\n5-1\r\n*10\r\n$2\r\nid\r\n$1\r\nx\r\n$4\r\ntype\r\n$1\r\nt\r\n$7\r\naccount\r\n$6\r\nuser:a\r\n" +
		"$3\r\nseq\r\n$1\r\n7\r\n$4\r\ndata\r\n$2\r\n{}\r\n"
	var a, b entries
	n, first, last := a.list(&resp.Cursor{B: []byte(raw)})
	m, f, l, err := b.typed([]redis.XMessage{{ID: "5-1", Values: map[string]any{
		"id": "x", "type": "t", "account": "user:a", "seq": "7", "data": "{}",
	}}})
	if err != nil || n != m || first != f || last != l || fmt.Sprint(a.deliveries) != fmt.Sprint(b.deliveries) || n != 1 {
		t.Errorf("raw: %d %v %v %v; typed: %d %v %v %v, %v", n, first, last, a.deliveries, m, f, l, b.deliveries, err)
	}
}
