package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// creditBody is the body of a credit or a debit. wallet.Op.Validate validates it.
type creditBody struct {
	Amount        int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"500" doc:"Whole points. 1.0, 1e3 and \"1\" are refused."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"promotional_award" doc:"The reason, as a structured code."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object of at most 8 KiB that nests at most 16 levels deep. It is stored with the ledger entries and sent with the events."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Your own reference for the operation. It is stored with the ledger entries and sent with the events. The default is the traceparent header."`
}

var creditDoc = operationDoc{
	id:      "credit",
	path:    "/v1/accounts/{account}/credits",
	scope:   auth.ScopeCredit,
	summary: "Credit points to an account",
	description: "Adds new points to the system: to a user's available balance or to a model's earned " +
		"balance. The first credit of an account creates the account.",
	status: http.StatusCreated,
	body:   creditBody{},
	target: accountParam,
}

// creditAccount serves POST /v1/accounts/{account}/credits.
func creditAccount(c *call) error {
	var body creditBody
	headers, err := c.readOperation(auth.ScopeCredit, &body)
	if err != nil {
		return err
	}

	receipt, err := c.commitOperation(&wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: headers.idempotencyKey,
		Account:        c.accountToChange(),
		Amount:         body.Amount,
		Reason:         body.Reason,
		Metadata:       body.Metadata.rawJSON(),
		CorrelationID:  body.CorrelationID,
		RequestID:      headers.requestID,
		TraceParent:    headers.traceParent,
	})
	if err != nil {
		return err
	}

	c.writeReceipt(http.StatusCreated, &receipt)
	return nil
}
