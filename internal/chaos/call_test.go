package chaos

import (
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// object is a JSON object of the wire contract, decoded without the types of the programs.
type object = map[string]any

// escrow is one that a hold made.
type escrow struct {
	id      string
	user    string
	amount  int64
	expires int // seconds; 0: never
}

// call is one operation with its idempotency key. It is sent until its answer is definite.
type call struct {
	operation string
	key       string
	account   string // of a credit, a debit or a hold; otherwise the user of the escrow
	escrow    *escrow
	model     string
	amount    int64 // of a partial settlement: what the user gets back
	settled   int64 // of a partial settlement: what the model gets
	expires   int   // of a hold, in seconds; 0: never

	// The answer.
	began     time.Duration // since the start of the episode
	ended     time.Duration
	abandoned bool // an attempt had no definite answer, so it may have been done, or be done later
	done      bool
	code      string // of a refusal
	receipt   client.Receipt
}

func (c *call) String() string {
	text := fmt.Sprintf("%s of %s (key %s, amount %d, settled %d", c.operation, c.account, c.key, c.amount, c.settled)
	if c.escrow != nil {
		text += ", escrow " + c.escrow.id
	}
	if c.model != "" {
		text += ", " + c.model
	}
	answer := "no answer"
	if c.done {
		answer = "done as " + c.receipt.TransactionID
	} else if c.code != "" {
		answer = "refused with " + c.code
	}
	return fmt.Sprintf("%s) from %.3f s to %.3f s: %s", text, c.began.Seconds(), c.ended.Seconds(), answer)
}

// request returns the call as the client takes it. The correlation id finds the call in the ledger's
// events.
func (c *call) request() client.Operation {
	switch c.operation {
	case client.OperationCredit:
		return client.Credit{Account: c.account, Amount: c.amount, Reason: "admin_credit", IdempotencyKey: c.key, CorrelationID: c.key}
	case client.OperationDebit:
		return client.Debit{Account: c.account, Amount: c.amount, Reason: "admin_debit", IdempotencyKey: c.key, CorrelationID: c.key}
	case client.OperationHold:
		return client.Hold{
			Account:        c.account,
			Amount:         c.amount,
			Reason:         "chip_menu_purchase",
			QueueItemID:    "q1",
			FeatureType:    "chip_menu",
			ExpiresIn:      time.Duration(c.expires) * time.Second,
			IdempotencyKey: c.key,
			CorrelationID:  c.key,
		}
	case client.OperationSettle:
		return client.Settle{
			EscrowID:       c.escrow.id,
			ModelID:        c.model,
			Amount:         c.amount,
			Reason:         "performance_completed",
			QueueItemID:    "q1",
			IdempotencyKey: c.key,
			CorrelationID:  c.key,
		}
	case client.OperationRefund:
		return client.Refund{
			EscrowID:       c.escrow.id,
			Amount:         c.amount,
			Reason:         "performance_abandoned",
			QueueItemID:    "q1",
			IdempotencyKey: c.key,
			CorrelationID:  c.key,
		}
	}
	return client.PartialSettle{
		EscrowID:       c.escrow.id,
		ModelID:        c.model,
		RefundAmount:   c.amount,
		SettleAmount:   c.settled,
		Reason:         "partial_performance",
		QueueItemID:    "q1",
		IdempotencyKey: c.key,
		CorrelationID:  c.key,
	}
}
