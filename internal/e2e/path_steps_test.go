package e2e

import (
	"github.com/redroomrewards/realtime/pkg/client"
)

const (
	userAccount  = "user:path.u1"
	modelAccount = "model:path~m1"
)

// pathStep is one operation with the events that the contract lists for it.
type pathStep struct {
	name      string
	operation func(escrow string) client.Operation // escrow is the one of the latest hold
	reason    string                               // of the operation
	events    []object                             // of both parties, in the order of the subscription to all accounts
	user      []int                                // the user's events, as indexes of events
	model     []int                                // the model's events, as indexes of events
}

// Optional fields of operations. The events have them, too.
const orderID = `order "1"`

var orderMetadata = object{"note": "<b>ünïcode</b>", "n": []any{1.0, nil}}

// withOrder adds the optional fields to an expected event.
func withOrder(event object) object {
	event["correlationId"] = orderID
	event["metadata"] = orderMetadata
	return event
}

func balanceEvent(account, accountType, state string, before, after int64) object {
	return object{
		"eventType":     "wallet.balance_updated",
		"accountId":     bareID(account),
		"accountType":   accountType,
		"balanceState":  state,
		"balanceBefore": before,
		"balanceAfter":  after,
		"changeAmount":  after - before,
	}
}

func availableEvent(before, after int64) object {
	return balanceEvent(userAccount, "user", "available", before, after)
}

func escrowEvent(before, after int64) object {
	return balanceEvent(userAccount, "user", "escrow", before, after)
}

func earnedEvent(before, after int64) object {
	return balanceEvent(modelAccount, "model", "earned", before, after)
}

func heldEvent(amount, available int64) object {
	return object{
		"eventType":            "wallet.escrow_held",
		"userId":               bareID(userAccount),
		"amount":               amount,
		"queueItemId":          "q1",
		"featureType":          "chip_menu",
		"userAvailableBalance": available,
		"userEscrowBalance":    amount,
	}
}

// listPathSteps lists every operation of the contract, with every event of its table.
func listPathSteps() []pathStep {
	return []pathStep{
		{
			name:   "credit",
			reason: "promotional_award",
			operation: func(string) client.Operation {
				op := newCredit(userAccount, 1000)
				op.CorrelationID = orderID
				op.Metadata = orderMetadata
				return op
			},
			events: []object{withOrder(availableEvent(0, 1000))},
			user:   []int{0},
		},
		{
			name:   "hold to settle",
			reason: "chip_menu_purchase",
			operation: func(string) client.Operation {
				op := newHold(userAccount, 100)
				op.CorrelationID = orderID
				op.Metadata = orderMetadata
				return op
			},
			events: []object{withOrder(heldEvent(100, 900)), withOrder(availableEvent(1000, 900)), withOrder(escrowEvent(0, 100))},
			user:   []int{0, 1, 2},
		},
		{
			name:      "settle",
			reason:    "performance_completed",
			operation: func(escrow string) client.Operation { return newSettle(escrow, modelAccount, 100) },
			events:    []object{settledEvent(), escrowEvent(100, 0), earnedEvent(0, 100)},
			user:      []int{0, 1},
			model:     []int{0, 2},
		},
		{
			name:      "hold to refund",
			reason:    "chip_menu_purchase",
			operation: func(string) client.Operation { return newHold(userAccount, 200) },
			events:    []object{heldEvent(200, 700), availableEvent(900, 700), escrowEvent(0, 200)},
			user:      []int{0, 1, 2},
		},
		{
			name:      "refund",
			reason:    "performance_abandoned",
			operation: func(escrow string) client.Operation { return newRefund(escrow, 200) },
			events:    []object{refundedEvent(), escrowEvent(200, 0), availableEvent(700, 900)},
			user:      []int{0, 1, 2},
		},
		{
			name:      "hold to settle in part",
			reason:    "chip_menu_purchase",
			operation: func(string) client.Operation { return newHold(userAccount, 300) },
			events:    []object{heldEvent(300, 600), availableEvent(900, 600), escrowEvent(0, 300)},
			user:      []int{0, 1, 2},
		},
		{
			name:   "partial settlement",
			reason: "partial_performance",
			operation: func(escrow string) client.Operation {
				op := newPartialSettle(escrow, bareID(modelAccount), 120, 180)
				op.CorrelationID = orderID
				op.Metadata = orderMetadata
				return op
			},
			events: []object{
				withOrder(partiallySettledEvent()),
				withOrder(escrowEvent(300, 0)),
				withOrder(availableEvent(600, 720)),
				withOrder(earnedEvent(100, 280)),
			},
			user:  []int{0, 1, 2},
			model: []int{0, 3},
		},
		{
			name:      "debit",
			reason:    "admin_debit",
			operation: func(string) client.Operation { return newDebit(userAccount, 20, "admin_debit") },
			events:    []object{availableEvent(720, 700)},
			user:      []int{0},
		},
		{
			name:      "payout",
			reason:    "payout",
			operation: func(string) client.Operation { return newDebit(modelAccount, 80, "payout") },
			events:    []object{earnedEvent(280, 200)},
			model:     []int{0},
		},
	}
}

func settledEvent() object {
	return object{
		"eventType":          "wallet.escrow_settled",
		"userId":             bareID(userAccount),
		"modelId":            bareID(modelAccount),
		"amount":             100,
		"queueItemId":        "q1",
		"modelEarnedBalance": 100,
	}
}

func refundedEvent() object {
	return object{
		"eventType":            "wallet.escrow_refunded",
		"userId":               bareID(userAccount),
		"amount":               200,
		"queueItemId":          "q1",
		"userAvailableBalance": 900,
		"userEscrowBalance":    0,
	}
}

func partiallySettledEvent() object {
	return object{
		"eventType":            "wallet.escrow_partial_settled",
		"userId":               bareID(userAccount),
		"modelId":              bareID(modelAccount),
		"refundAmount":         120,
		"settleAmount":         180,
		"queueItemId":          "q1",
		"userAvailableBalance": 720,
		"userEscrowBalance":    0,
		"modelEarnedBalance":   280,
	}
}

// Each party's own view of an event lacks the balances of the other party.
var (
	hiddenFromUser  = []string{"modelEarnedBalance"}
	hiddenFromModel = []string{"userAvailableBalance", "userEscrowBalance"}
)
