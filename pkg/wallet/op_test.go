package wallet

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// receiptJSON is a receipt as the wire contract describes it.
type receiptJSON struct {
	TransactionID uuid.UUID  `json:"transactionId"`
	Operation     Operation  `json:"operation"`
	EscrowID      *uuid.UUID `json:"escrowId,omitempty"`
	Amount        int64      `json:"amount"`
	Timestamp     string     `json:"timestamp"`
	Balances      []Balance  `json:"balances"`
}

// TestReceiptIsEncodedAsInTheContract compares AppendJSON with encoding/json.
func TestReceiptIsEncodedAsInTheContract(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := drawReceipt(t)
		contract := receiptJSON{
			TransactionID: r.TransactionID,
			Operation:     r.Operation,
			Amount:        r.Amount,
			Timestamp:     r.Timestamp.UTC().Format(bus.TimeFormat),
			Balances:      r.Balances,
		}
		if r.EscrowID != uuid.Nil {
			contract.EscrowID = &r.EscrowID
		}
		want, err := json.Marshal(contract)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.AppendJSON(nil); string(got) != string(want) {
			t.Fatalf("receipt:\ngot  %s\nwant %s", got, want)
		}
	})
}

func drawReceipt(t *rapid.T) Receipt {
	drawID := func(name string) (id uuid.UUID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
		return id
	}
	drawTime := func() time.Time {
		milliseconds := rapid.Int64Range(0, 1<<42).Draw(t, "ms")
		return time.UnixMilli(milliseconds).In(time.FixedZone("x", 3600))
	}
	r := Receipt{
		TransactionID: drawID("transaction"),
		Operation:     rapid.SampledFrom([]Operation{OpCredit, OpPartialSettle}).Draw(t, "operation"),
		Amount:        rapid.Int64Range(1, MaxAmount).Draw(t, "amount"),
		Timestamp:     drawTime(),
		Replayed:      rapid.Bool().Draw(t, "replayed"),
		Balances:      []Balance{{Account: "user:u1", Available: 5, Escrow: 6, Seq: 7, UpdatedAt: drawTime()}},
	}
	if rapid.Bool().Draw(t, "two parties") {
		r.Balances = append(r.Balances, Balance{Account: "model:m1", Earned: 8, Seq: 9, UpdatedAt: drawTime()})
	}
	if rapid.Bool().Draw(t, "escrow") {
		r.EscrowID = drawID("escrow id")
		r.EscrowID[0] |= 1 // the zero id means that there is no escrow
	}
	return r
}
