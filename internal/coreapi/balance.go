package coreapi

import (
	"context"
	"net/http"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// balanceShape describes a balance in the OpenAPI document. wallet.Balance encodes it.
type balanceShape struct {
	Account          string `json:"account" example:"user:u1"`
	AccountID        string `json:"accountId" example:"u1" doc:"The bare id of the account."`
	AccountType      string `json:"accountType" enum:"user,model"`
	AvailableBalance int64  `json:"availableBalance,omitempty" example:"400" doc:"The points that a user can spend. Absent for a model."`
	EscrowBalance    int64  `json:"escrowBalance,omitempty" example:"100" doc:"The points of a user that are held. Absent for a model."`
	EarnedBalance    int64  `json:"earnedBalance,omitempty" doc:"The points that a model has earned. Absent for a user."`
	Currency         string `json:"currency" enum:"points"`
	Seq              int64  `json:"seq" example:"4" doc:"The seq of the newest event that these amounts include."`
	Chain            string `json:"chain" pattern:"^[0-9a-f]{16}$" example:"9f3ab2c1d4e5f607" doc:"Identifies the history of the account up to that event."`
	LastUpdated      string `json:"lastUpdated" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
}

var balanceDoc = queryDoc{
	id:      "get-balance",
	path:    "/v1/accounts/{account}/balance",
	summary: "An account's balance",
	description: "The balance as of the last commit, or as of a time in the past. Before the account's " +
		"first change all amounts are zero.",
	readers: ownAccount,
	answer:  balanceShape{},
	params:  []param{accountParam, asOfParam},
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
	err = c.requireReadable(string(account))
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
