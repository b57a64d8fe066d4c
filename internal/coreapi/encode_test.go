package coreapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// What is appended by hand is what encoding/json makes of the same value.
func TestAppendedReceiptIsItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := wallet.Receipt{
			TransactionID: drawID(t), Operation: wallet.OpPartialSettle, Amount: drawAmount(t), Timestamp: drawTime(t),
			Balances: []bus.Balance{drawBalance(t, "user:"), drawBalance(t, "model:")},
		}
		if rapid.Bool().Draw(t, "escrow") {
			r.EscrowID = drawID(t)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendReceipt(nil, &r); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func TestAppendedEventsAreTheirJSON(t *testing.T) {
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

func drawID(t *rapid.T) uuid.UUID {
	var id uuid.UUID
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	return id
}

func drawAmount(t *rapid.T) int64 { return rapid.Int64Range(0, wallet.MaxAmount).Draw(t, "amount") }

func drawTime(t *rapid.T) time.Time {
	return time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "ms")).In(time.FixedZone("x", 3600))
}

func drawBalance(t *rapid.T, kind string) bus.Balance {
	b := bus.Balance{Account: kind + rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}`).Draw(t, "account"), Seq: drawAmount(t)}
	if kind == "user:" {
		b.Available, b.Escrow = drawAmount(t), drawAmount(t)
	} else {
		b.Earned = drawAmount(t)
	}
	if rapid.Bool().Draw(t, "changed") {
		b.UpdatedAt = drawTime(t)
	}
	return b
}
