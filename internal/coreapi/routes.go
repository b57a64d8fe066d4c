package coreapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// routes registers every call of the contract, in the order of the contract.
func (a *API) routes() {
	d := describer{a.huma.OpenAPI().Components.Schemas}
	account, escrow := []param{accountParam}, []param{escrowParam}

	a.route(d.write("credit", "/v1/accounts/{account}/credits", auth.ScopeCredit, "Credit points to an account",
		"Points come into the system: into a user's available or a model's earned balance. An account comes into being with its first credit.",
		http.StatusCreated, creditBody{}, account),
		write[creditBody](wallet.OpCredit, auth.ScopeCredit, http.StatusCreated, pathAccount))
	a.route(d.write("debit", "/v1/accounts/{account}/debits", auth.ScopeDebit, "Debit points from an account",
		"Points leave the system: from a user's available balance, or from a model's earned balance as a payout.",
		http.StatusCreated, creditBody{}, account, http.StatusPaymentRequired, http.StatusNotFound),
		write[creditBody](wallet.OpDebit, auth.ScopeDebit, http.StatusCreated, pathAccount))
	a.route(d.write("hold", "/v1/accounts/{account}/holds", auth.ScopeHold, "Hold a user's points in escrow",
		"Moves points from a user's available balance into a new escrow. A hold on a model is refused with 400.",
		http.StatusCreated, holdBody{}, account, http.StatusPaymentRequired, http.StatusNotFound),
		write[holdBody](wallet.OpHold, auth.ScopeHold, http.StatusCreated, pathAccount))

	a.route(d.write("settle", "/v1/escrows/{escrowId}/settle", auth.ScopeSettle, "Settle an escrow",
		"The held points become the model's earned points. amount must be the escrow's.",
		http.StatusOK, settleBody{}, escrow, http.StatusNotFound, http.StatusConflict),
		write[settleBody](wallet.OpSettle, auth.ScopeSettle, http.StatusOK, pathEscrow))
	a.route(d.write("refund", "/v1/escrows/{escrowId}/refund", auth.ScopeSettle, "Refund an escrow",
		"The held points become available to the user again. amount must be the escrow's.",
		http.StatusOK, refundBody{}, escrow, http.StatusNotFound, http.StatusConflict),
		write[refundBody](wallet.OpRefund, auth.ScopeSettle, http.StatusOK, pathEscrow))
	a.route(d.write("partial-settle", "/v1/escrows/{escrowId}/partial-settle", auth.ScopeSettle, "Settle a part of an escrow, refund the rest",
		"refundAmount goes back to the user, settleAmount to the model; they add up to the escrow's amount and are at least 1 each.",
		http.StatusOK, partialSettleBody{}, escrow, http.StatusNotFound, http.StatusConflict),
		write[partialSettleBody](wallet.OpPartialSettle, auth.ScopeSettle, http.StatusOK, pathEscrow))

	a.route(d.batch(), batch)

	a.route(d.read("get-balance", "/v1/accounts/{account}/balance", "An account's balance",
		"As of the last commit, or of a time in the past. Before the account's first change all is zero.", ownAccount, balanceShape{}, accountParam, asOfParam), readBalance)
	a.route(d.read("list-entries", "/v1/accounts/{account}/entries", "An account's ledger entries, newest first",
		"The order is stable while new entries come: they never shift a page that follows.", ownAccount, entriesShape{},
		accountParam, limitParam, beforeParam, reasonParam, fromParam, toParam), readEntries)
	events := d.read("list-events", "/v1/accounts/{account}/events", "An account's events, oldest first",
		"The events that the WebSocket delivers, from the ledger: by seq, without a hole, for ever.", ownAccount, eventsShape{},
		accountParam, afterParam, limitParam)
	events.Responses["200"].Headers[coreclient.HeaderStreams] = &huma.Param{Description: "Where in Redis events are published: namespace/partitions.", Schema: str("")}
	a.route(events, readEvents)
	a.route(d.read("list-escrows", "/v1/accounts/{account}/escrows", "A user's escrows, newest first",
		"", ownAccount, escrowsShape{}, accountParam, statusParam, limitParam, beforeParam), readEscrows)
	a.route(d.read("get-escrow", "/v1/escrows/{escrowId}", "One escrow",
		"The bearer sees it when one of its accounts is the escrow's user or model.", ownAccount, escrowShape{}, escrowParam), readEscrow)
	a.route(d.read("get-transaction", "/v1/transactions/{transactionId}", "One transaction with its entries",
		"", readScope, transactionShape{}, transactionParam), readTransaction)
}
