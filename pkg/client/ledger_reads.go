package client

import (
	"context"
	"net/url"
	"time"
)

// Balance returns the balance of an account. If the ledger does not know the account, the error
// matches ErrAccountNotFound. Reading needs the scope wallet:read, or a token of the account.
func (l *Ledger) Balance(ctx context.Context, account string) (Balance, error) {
	var b Balance
	err := l.get(ctx, "balance of "+account, accountPath(account, "balance"), nil, &b)
	return b, err
}

// BalanceAt returns the balance of an account after all changes up to that time, to the millisecond.
// Before the account's first change, all amounts are zero.
func (l *Ledger) BalanceAt(ctx context.Context, account string, at time.Time) (Balance, error) {
	var b Balance
	query := url.Values{"asOf": {formatTime(at)}}
	err := l.get(ctx, "balance of "+account, accountPath(account, "balance"), query, &b)
	return b, err
}

// Escrow returns an escrow. If it does not exist, the error matches ErrEscrowNotFound.
func (l *Ledger) Escrow(ctx context.Context, escrowID string) (Escrow, error) {
	var e Escrow
	err := l.get(ctx, "escrow "+escrowID, "/v1/escrows/"+url.PathEscape(escrowID), nil, &e)
	return e, err
}

// Transaction returns a transaction with all of its entries. If it does not exist, the error matches
// ErrTransactionNotFound. It needs the scope wallet:read.
func (l *Ledger) Transaction(ctx context.Context, transactionID string) (Transaction, error) {
	var t Transaction
	err := l.get(ctx, "transaction "+transactionID, "/v1/transactions/"+url.PathEscape(transactionID), nil, &t)
	return t, err
}

// get reads and decodes one answer.
func (l *Ledger) get(ctx context.Context, name, path string, query url.Values, into validator) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	a, err := l.send(ctx, call{name: name, path: path})
	if err != nil {
		return err
	}
	return decodeAnswer(a, name, into)
}

// formatTime returns a time as the core takes it.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
