package wallet

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// TestReceiptIsTheContractsJSON compares AppendJSON with encoding/json.
func TestReceiptIsTheContractsJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		drawID := func(name string) (id uuid.UUID) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			return id
		}
		drawTime := func() time.Time {
			return time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "ms")).In(time.FixedZone("x", 3600))
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
		contract := struct {
			TransactionID uuid.UUID  `json:"transactionId"`
			Operation     Operation  `json:"operation"`
			EscrowID      *uuid.UUID `json:"escrowId,omitempty"`
			Amount        int64      `json:"amount"`
			Timestamp     string     `json:"timestamp"`
			Balances      []Balance  `json:"balances"`
		}{r.TransactionID, r.Operation, nil, r.Amount, r.Timestamp.UTC().Format(bus.TimeFormat), r.Balances}
		if rapid.Bool().Draw(t, "escrow") {
			r.EscrowID = drawID("escrow id")
			r.EscrowID[0] |= 1 // the zero id means none
			contract.EscrowID = &r.EscrowID
		}
		want, err := json.Marshal(contract)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.AppendJSON(nil); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
