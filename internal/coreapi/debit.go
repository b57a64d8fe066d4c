package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

var debitDoc = operationDoc{
	id:      "debit",
	path:    "/v1/accounts/{account}/debits",
	scope:   auth.ScopeDebit,
	summary: "Debit points from an account",
	description: "Removes points from the system: from a user's available balance, or from a model's " +
		"earned balance as a payout.",
	status:   http.StatusCreated,
	body:     creditBody{},
	target:   accountParam,
	refusals: fundsRefusals,
}

// debitAccount serves POST /v1/accounts/{account}/debits.
func debitAccount(c *call) error {
	var body creditBody
	headers, err := c.readOperation(auth.ScopeDebit, &body)
	if err != nil {
		return err
	}

	receipt, err := c.commitOperation(&wallet.Op{
		Operation:      wallet.OpDebit,
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
