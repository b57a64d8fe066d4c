package streamentry

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// An entry that go-redis parsed and the same entry in a raw reply are the same delivery.
func TestMessagesEqualRawEntries(t *testing.T) {
	raw := "*1\r\n*2\r\n$3\r\n5-1\r\n*10\r\n$2\r\nid\r\n$1\r\nx\r\n$4\r\ntype\r\n$1\r\nt\r\n$7\r\naccount\r\n$6\r\nuser:a\r\n" +
		"$3\r\nseq\r\n$1\r\n7\r\n$4\r\ndata\r\n$2\r\n{}\r\n"
	var fromReply, fromMessage Decoder
	n, first, last := fromReply.DecodeReply(&resp.Cursor{Rest: []byte(raw)})
	id, err := fromMessage.DecodeMessage("5-1", map[string]any{"id": "x", "type": "t", "account": "user:a", "seq": "7", "data": "{}"})
	if err != nil {
		t.Fatal(err)
	}
	if n != 1 || first != id || last != id {
		t.Errorf("raw: %d entries from %v to %v; message: %v", n, first, last, id)
	}
	if fmt.Sprint(fromReply.Deliveries) != fmt.Sprint(fromMessage.Deliveries) {
		t.Errorf("raw: %v; message: %v", fromReply.Deliveries, fromMessage.Deliveries)
	}
}
