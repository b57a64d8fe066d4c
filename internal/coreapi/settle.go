package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// settleBody is the body of a settlement. wallet.Op.Validate validates it.
type settleBody struct {
	ModelID       string `json:"modelId" example:"m1" doc:"The model that earns the points: the bare <id>, or model:<id>. Both are the same request."`
	Amount        int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"100" doc:"The full amount of the escrow."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"performance_completed" doc:"The reason, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue item that closes the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object of at most 8 KiB that nests at most 16 levels deep."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Your own reference for the operation. The default is the traceparent header."`
}

var settleDoc = operationDoc{
	id:          "settle",
	path:        "/v1/escrows/{escrowId}/settle",
	scope:       auth.ScopeSettle,
	summary:     "Settle an escrow",
	description: "Moves the held points to the model's earned balance. The amount must equal the escrow's amount.",
	status:      http.StatusOK,
	body:        settleBody{},
	target:      escrowParam,
	refusals:    escrowRefusals,
}

// settleEscrow serves POST /v1/escrows/{escrowId}/settle.
func settleEscrow(c *call) error {
	var body settleBody
	headers, err := c.readOperation(auth.ScopeSettle, &body)
	if err != nil {
		return err
	}
	escrowID, err := c.escrowID()
	if err != nil {
		return err
	}

	receipt, err := c.commitOperation(&wallet.Op{
		Operation:      wallet.OpSettle,
		IdempotencyKey: headers.idempotencyKey,
		EscrowID:       escrowID,
		Model:          modelAccount(body.ModelID),
		Amount:         body.Amount,
		Reason:         body.Reason,
		QueueItemID:    body.QueueItemID,
		Metadata:       body.Metadata.rawJSON(),
		CorrelationID:  body.CorrelationID,
		RequestID:      headers.requestID,
		TraceParent:    headers.traceParent,
	})
	if err != nil {
		return err
	}

	c.writeReceipt(http.StatusOK, &receipt)
	return nil
}
