package coreapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

var (
	errUnauthorized = errors.New("unauthorized")
	errForbidden    = errors.New("forbidden")

	// errTooManyReads means that a read was refused. It did not begin.
	errTooManyReads = errors.New("too many reads are running or waiting")

	// errTooManyBytes means that a request did nothing, because its body or its answer did not fit
	// into the memory for large ones.
	errTooManyBytes = errors.New("too many large requests and answers are in memory")
)

// errorTable maps errors to statuses and codes. The first match is used.
var errorTable = []struct {
	err        error
	status     int
	code       string
	title      string
	retryAfter int // seconds
}{
	{wallet.ErrInvalid, http.StatusBadRequest, "invalid_request", "Invalid request", 0},
	{errUnauthorized, http.StatusUnauthorized, "unauthorized", "Unauthorized", 0},
	{errForbidden, http.StatusForbidden, "forbidden", "Forbidden", 0},
	{wallet.ErrInsufficientFunds, http.StatusPaymentRequired, "insufficient_funds", "Insufficient funds", 0},
	{wallet.ErrAccountNotFound, http.StatusNotFound, "account_not_found", "Account not found", 0},
	{wallet.ErrEscrowNotFound, http.StatusNotFound, "escrow_not_found", "Escrow not found", 0},
	{wallet.ErrTransactionNotFound, http.StatusNotFound, "transaction_not_found", "Transaction not found", 0},
	{wallet.ErrEscrowProcessed, http.StatusConflict, "escrow_already_processed", "Escrow already processed", 0},
	{wallet.ErrHistoryChanged, http.StatusConflict, "history_changed", "History changed", 0},
	{wallet.ErrKeyReused, http.StatusUnprocessableEntity, "idempotency_key_reused", "Idempotency key reused", 0},
	{wallet.ErrAmountMismatch, http.StatusUnprocessableEntity, "amount_mismatch", "Amount mismatch", 0},
	{wallet.ErrTooLarge, http.StatusRequestEntityTooLarge, "request_too_large", "Request too large", 0},
	{wallet.ErrOverloaded, http.StatusServiceUnavailable, "overloaded", "Overloaded", 1},
	{errTooManyReads, http.StatusServiceUnavailable, "overloaded", "Overloaded", 1},
	{errTooManyBytes, http.StatusServiceUnavailable, "overloaded", "Overloaded", 1},
	{wallet.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "Ledger unavailable", 2},
	{auth.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "Tokens cannot be checked", auth.RetryAfterSeconds},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", "Ledger unavailable", 2},
	{context.Canceled, http.StatusServiceUnavailable, "unavailable", "Ledger unavailable", 2},
}

const (
	detailOverloaded   = "the ledger's queue is full; nothing was done; try again later"
	detailTooManyReads = "too many reads are running or waiting; try again later"
	detailTooManyBytes = "too many large requests and answers are on their way; nothing was done; " +
		"read answers to their end, ask for smaller pages or batches, and try again later"
	detailUnavailable = "the ledger did not answer in time; a write may or may not have been done; " +
		"a retry with the same Idempotency-Key returns its result and does nothing twice"
	detailKeyReused = "each new request must have a new Idempotency-Key; " +
		"this key was used for another request of the same operation"
	detailNoAccount = "the ledger must have the account; " +
		"the first credit or settlement to an account creates it"
	detailNoEscrow      = "the ledger must have the escrow; the answer to its hold has the escrowId"
	detailNoTransaction = "the ledger must have the transaction; the answer to its operation has the transactionId"
	detailInternal      = "an internal error occurred; the server log has the cause under the request id"
)

// DescribeError returns the problem of an error, or nil if the error is not in the table.
func DescribeError(err error) *problem.Details {
	for i := range errorTable {
		row := &errorTable[i]
		if !errors.Is(err, row.err) {
			continue
		}

		details := problem.New(row.status, row.code, row.title, errorDetail(err, row.err, row.code))
		details.RetryAfter = row.retryAfter
		addMembers(details, err)
		return details
	}
	return nil
}

// errorDetail returns the detail of an error that is, or wraps, kind.
func errorDetail(err, kind error, code string) string {
	if errors.Is(err, auth.ErrUnavailable) {
		return auth.Reason(err)
	}
	if errors.Is(err, errTooManyReads) {
		return detailTooManyReads
	}
	if errors.Is(err, errTooManyBytes) {
		return detailTooManyBytes
	}
	switch code {
	case "overloaded":
		return detailOverloaded
	case "unavailable":
		return detailUnavailable
	case "idempotency_key_reused":
		return detailKeyReused
	case "account_not_found":
		return detailNoAccount
	case "escrow_not_found":
		return detailNoEscrow
	case "transaction_not_found":
		return detailNoTransaction
	}
	return strings.TrimPrefix(err.Error(), kind.Error()+": ") // the title says it
}

// addMembers adds the fields, balances and amounts of the error to the problem.
func addMembers(d *problem.Details, err error) {
	var (
		invalid   *wallet.InvalidError
		funds     *wallet.InsufficientFundsError
		processed *wallet.EscrowProcessedError
		mismatch  *wallet.AmountMismatchError
		changed   *wallet.HistoryChangedError
	)

	switch {
	case errors.As(err, &invalid):
		d.Errors = make([]problem.Field, len(invalid.Fields))
		for i, field := range invalid.Fields {
			d.Errors[i] = problem.NewField(field.Pointer, field.Detail)
		}
		if len(d.Errors) > 0 {
			d.Detail = joinPointer(d.Errors[0])
		}
	case errors.As(err, &funds):
		d.Detail = fmt.Sprintf("%s has %d points, %d were requested", funds.Account, funds.Available, funds.Requested)
		balance := "availableBalance"
		if funds.Account.IsModel() {
			balance = "earnedBalance"
		}
		d.Extra = map[string]any{
			"account":         funds.Account,
			"accountId":       funds.Account.ID(),
			"accountType":     funds.Account.Type(),
			balance:           funds.Available,
			"requestedAmount": funds.Requested,
		}
	case errors.As(err, &processed):
		d.Detail = fmt.Sprintf("the escrow must be held; it is %s", processed.Status)
		d.Extra = map[string]any{"escrowStatus": processed.Status}
	case errors.As(err, &changed):
		since := formatTime(changed.Since)
		d.Detail = "the ledger went back to an earlier time and does not have the event of the cursor; " +
			"of the events that you have, those from about " + since + " on may never have happened; " +
			"continue with the cursor in next, and compare the chain of each event with the one that you have"
		d.Extra = map[string]any{
			"next":  changed.Next,
			"since": since,
		}
	case errors.As(err, &mismatch):
		d.Detail = fmt.Sprintf("the amount must equal the escrow's amount; the escrow holds %d points, %d were requested",
			mismatch.EscrowAmount, mismatch.Requested)
		d.Extra = map[string]any{
			"escrowAmount":    mismatch.EscrowAmount,
			"requestedAmount": mismatch.Requested,
		}
	}
}

// joinPointer returns "pointer: detail".
func joinPointer(field problem.Field) string {
	if field.Pointer == "" {
		return field.Detail
	}
	return field.Pointer + ": " + field.Detail
}
