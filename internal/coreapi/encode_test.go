package coreapi

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// appendEvents must return the same JSON as encoding/json.
func TestAppendEventsMatchesEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []wallet.AccountEvent
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			events = append(events, wallet.AccountEvent{Account: "user:u1", Seq: drawAmount(t), Event: json.RawMessage(`{"a":1}`)})
		}
		last := drawAmount(t)
		want, err := json.Marshal(map[string]any{"events": append([]wallet.AccountEvent{}, events...), "last": last})
		if err != nil {
			t.Fatal(err)
		}
		if got := appendEvents(nil, events, last); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func drawAmount(t *rapid.T) int64 { return rapid.Int64Range(0, wallet.MaxAmount).Draw(t, "amount") }
