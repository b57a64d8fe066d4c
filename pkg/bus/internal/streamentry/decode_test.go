package streamentry

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

func TestMessageAndRawEntryDecodeToTheSameDelivery(t *testing.T) {
	raw := "*1\r\n*2\r\n$3\r\n5-1\r\n*10\r\n$2\r\nid\r\n$1\r\nx\r\n$4\r\ntype\r\n$1\r\nt\r\n$7\r\naccount\r\n$6\r\nuser:a\r\n" +
		"$3\r\nseq\r\n$1\r\n7\r\n$4\r\ndata\r\n$2\r\n{}\r\n"
	var fromReply, fromMessage Decoder
	n, first, last := fromReply.DecodeReply(&resp.Cursor{Rest: []byte(raw)})
	values := map[string]any{"id": "x", "type": "t", "account": "user:a", "seq": "7", "data": "{}"}
	id, err := fromMessage.DecodeMessage("5-1", values)
	if err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("reply: got %d entries, want 1", n)
	}
	if first != id {
		t.Errorf("reply: got first id %v, want %v", first, id)
	}
	if last != id {
		t.Errorf("reply: got last id %v, want %v", last, id)
	}
	got := fmt.Sprint(fromMessage.Deliveries)
	want := fmt.Sprint(fromReply.Deliveries)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEntryWithMalformedChainIsMalformed(t *testing.T) {
	for chain, malformed := range map[string]int{
		"9f3ab2c1d4e5f607": 0,
		"9F3AB2C1D4E5F607": 1,
		"9f3a":             1,
		"":                 1,
	} {
		t.Run(chain, func(t *testing.T) {
			var dec Decoder
			values := map[string]any{"id": "x", "type": "t", "account": "user:a", "chain": chain, "seq": "7", "data": "{}"}
			_, err := dec.DecodeMessage("5-1", values)
			if err != nil {
				t.Fatal(err)
			}
			if dec.Malformed != malformed {
				t.Errorf("got %d malformed entries, want %d", dec.Malformed, malformed)
			}
			if event := dec.DecodeEvent(values); event.Valid != (malformed == 0) {
				t.Errorf("consumer: got valid %t", event.Valid)
			}
		})
	}
}

// A marker of an account that the ledger does not have any more has the seq 0. Events of other
// producers have none and are skipped.
func TestMarkerWithSeqZeroIsKept(t *testing.T) {
	var dec Decoder
	marker := map[string]any{
		"id": "m", "type": bus.TypeHistoryChanged, "account": "user:a", "seq": "0", "chain": "0000000000000000", "data": "{}",
	}
	other := map[string]any{"id": "o", "type": "t", "account": "user:a", "data": "{}"}
	for _, values := range []map[string]any{marker, other} {
		_, err := dec.DecodeMessage("5-1", values)
		if err != nil {
			t.Fatal(err)
		}
	}
	if dec.Malformed != 0 {
		t.Errorf("got %d malformed entries, want none", dec.Malformed)
	}
	if len(dec.Deliveries) != 1 || dec.Deliveries[0].ID != "m" {
		t.Errorf("got deliveries %v, want the marker", dec.Deliveries)
	}
}
