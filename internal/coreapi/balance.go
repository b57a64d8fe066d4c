package coreapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/openapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// balanceShape describes a balance in the OpenAPI document. wallet.Balance encodes it. Users and
// models have different balances.
type balanceShape struct{}

// Schema returns the schema of docs/asyncapi.json.
func (balanceShape) Schema(huma.Registry) *huma.Schema { return openapi.ReferTo("Balance") }

var balanceDoc = queryDoc{
	id:      "get-balance",
	path:    "/v1/accounts/{account}/balance",
	summary: "An account's balance",
	description: "The balance as of the last commit, or as of a time in the past. Before the account's " +
		"first change all amounts are zero.",
	readers:  ownAccount,
	answer:   balanceShape{},
	notFound: "account_not_found",
	params:   []param{accountParam, asOfParam},
}

// getBalance serves GET /v1/accounts/{account}/balance.
func getBalance(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	account, err := c.accountToRead()
	if err != nil {
		return err
	}

	query, err := c.readQuery("asOf")
	if err != nil {
		return err
	}
	asOf := query.timeValue("asOf")
	if query.err != nil {
		return query.err
	}

	var balance wallet.Balance
	err = c.readLedger(func(ctx context.Context) (err error) {
		if asOf.IsZero() {
			balance, err = c.api.ledger.Balance(ctx, account)
		} else {
			balance, err = c.api.ledger.BalanceAt(ctx, account, asOf)
		}
		return err
	})
	if err != nil {
		return err
	}

	c.writeBody(http.StatusOK, balance.AppendJSON(c.newBody()))
	return nil
}
