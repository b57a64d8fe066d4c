package coreapi

import (
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// receiptShape describes a receipt in the OpenAPI document. wallet.Receipt encodes it.
type receiptShape struct {
	TransactionID uuid.UUID      `json:"transactionId" format:"uuid"`
	Operation     string         `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	EscrowID      string         `json:"escrowId,omitempty" format:"uuid" doc:"Absent for credits and debits."`
	Amount        int64          `json:"amount" example:"100" doc:"For a partial settlement this is the escrow's amount."`
	Timestamp     string         `json:"timestamp" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
	Balances      []balanceShape `json:"balances" nullable:"false" doc:"The balances after the operation, one for each account that it changed. The user comes first."`
}

var headerTrue = []string{"true"}

// writeReceipt answers with the receipt of an operation.
func (c *call) writeReceipt(status int, receipt *wallet.Receipt) {
	if receipt.Replayed {
		c.w.Header()["Idempotent-Replayed"] = headerTrue
	}
	c.writeBody(status, receipt.AppendJSON(c.newBody()))
}
