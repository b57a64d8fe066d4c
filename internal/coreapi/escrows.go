package coreapi

import (
	"context"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// escrowsShape is a page of escrows.
type escrowsShape struct {
	Escrows []escrowShape `json:"escrows" nullable:"false" doc:"The newest first."`
	Next    string        `json:"next,omitempty" doc:"The cursor of the next page, to be sent as before. It is absent on the last page."`
}

var escrowsDoc = queryDoc{
	id:       "list-escrows",
	path:     "/v1/accounts/{account}/escrows",
	summary:  "A user's escrows, newest first",
	readers:  ownAccount,
	answer:   escrowsShape{},
	notFound: "account_not_found",
	params:   []param{userParam, statusParam, limitParam, beforeParam},
}

// listEscrows serves GET /v1/accounts/{account}/escrows.
func listEscrows(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	account, err := c.accountToRead()
	if err != nil {
		return err
	}

	if !account.IsUser() {
		return invalidField("/account", "the account must be a user")
	}

	query, err := c.readQuery("status", "limit", "before")
	if err != nil {
		return err
	}
	status := wallet.EscrowStatus(query.textValue("status"))
	switch status {
	case "", wallet.StatusHeld, wallet.StatusSettled, wallet.StatusRefunded, wallet.StatusPartiallySettled:
	default:
		return invalidField("/status", "a status must be held, settled, refunded or partially_settled")
	}
	page := wallet.Page{
		Limit:  query.limitValue(),
		Before: query.textValue("before"),
	}
	if query.err != nil {
		return query.err
	}

	var escrows []wallet.Escrow
	var next string
	err = c.readLedger(func(ctx context.Context) (err error) {
		escrows, next, err = c.api.ledger.Escrows(ctx, account, status, page)
		return err
	})
	if err != nil {
		return err
	}

	answer := escrowsShape{
		Escrows: make([]escrowShape, len(escrows)),
		Next:    next,
	}
	for i := range escrows {
		answer.Escrows[i] = newEscrowShape(&escrows[i])
	}
	return c.writeValue(answer)
}
