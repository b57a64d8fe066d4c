package coreapi

import (
	"context"
	"encoding/hex"
	"net/http"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// entryShape is an entry in an answer. Optional members are absent, never null or "". appendEntry
// adds the metadata.
type entryShape struct {
	EntryID       uuid.UUID `json:"entryId" format:"uuid"`
	TransactionID uuid.UUID `json:"transactionId" format:"uuid"`
	Account       string    `json:"account" example:"user:u1" doc:"The account that the entry changes. In a transaction also a system account: system:issuance or system:payout."`
	AccountID     string    `json:"accountId" example:"u1" doc:"The bare id of the account."`
	AccountType   string    `json:"accountType" enum:"user,model,system"`
	BalanceState  string    `json:"balanceState" enum:"available,escrow,earned,system" doc:"The balance that the entry changes."`
	Amount        int64     `json:"amount" example:"-100" doc:"Signed. The amounts of a transaction sum to zero."`
	BalanceBefore int64     `json:"balanceBefore" example:"500" doc:"0 for a system account, because it has no running balance."`
	BalanceAfter  int64     `json:"balanceAfter" example:"400"`
	Seq           int64     `json:"seq" example:"3" doc:"The seq of the entry's wallet.balance_updated event, or 0 for a system account."`
	Operation     string    `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	Reason        string    `json:"reason" example:"chip_menu_purchase"`
	EscrowID      string    `json:"escrowId,omitempty" format:"uuid"`
	QueueItemID   string    `json:"queueItemId,omitempty" example:"queue-1"`
	FeatureType   string    `json:"featureType,omitempty" example:"chip_menu"`
	CorrelationID string    `json:"correlationId,omitempty" example:"order-4711"`
	RequestID     string    `json:"requestId,omitempty"`
	Metadata      object    `json:"metadata,omitempty"`
	Hash          string    `json:"hash" doc:"SHA-256 of the account's previous hash and this entry, in hexadecimal. The hashes of an account form a chain, so that tampering can be detected."`
	Timestamp     string    `json:"timestamp" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
}

func newEntryShape(e *wallet.Entry) entryShape {
	return entryShape{
		EntryID:       e.ID,
		TransactionID: e.TransactionID,
		Account:       string(e.Account),
		AccountID:     e.Account.ID(),
		AccountType:   string(e.Account.Type()),
		BalanceState:  string(e.State),
		Amount:        e.Amount,
		BalanceBefore: e.BalanceBefore,
		BalanceAfter:  e.BalanceAfter,
		Seq:           e.Seq,
		Operation:     string(e.Operation),
		Reason:        e.Reason,
		EscrowID:      optionalID(e.EscrowID),
		QueueItemID:   e.QueueItemID,
		FeatureType:   e.FeatureType,
		CorrelationID: e.CorrelationID,
		RequestID:     e.RequestID,
		Hash:          hex.EncodeToString(e.Hash),
		Timestamp:     formatTime(e.CreatedAt),
	}
}

// entriesShape describes a page of entries in the OpenAPI document. appendEntries encodes the
// entries.
type entriesShape struct {
	Entries []entryShape `json:"entries" nullable:"false" doc:"The newest first."`
	Next    string       `json:"next,omitempty" doc:"The cursor of the next page, to be sent as before. It is absent on the last page."`
}

var entriesDoc = queryDoc{
	id:          "list-entries",
	path:        "/v1/accounts/{account}/entries",
	summary:     "An account's ledger entries, newest first",
	description: "The order is stable: new entries do not change the pages that follow a cursor.",
	readers:     ownAccount,
	answer:      entriesShape{},
	notFound:    "account_not_found",
	params:      []param{accountParam, limitParam, beforeParam, reasonParam, fromParam, toParam},
}

// listEntries serves GET /v1/accounts/{account}/entries.
func listEntries(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	account, err := c.accountToRead()
	if err != nil {
		return err
	}

	query, err := c.readQuery("limit", "before", "reason", "from", "to")
	if err != nil {
		return err
	}
	filter := wallet.EntryFilter{
		Reason: query.reasonValue(),
		From:   query.timeValue("from"),
		To:     query.timeValue("to"),
	}
	page := wallet.Page{
		Limit:  query.limitValue(),
		Before: query.textValue("before"),
	}
	if query.err != nil {
		return query.err
	}

	var entries []wallet.Entry
	var next string
	err = c.readLedger(func(ctx context.Context) (err error) {
		entries, next, err = c.api.ledger.Entries(ctx, account, filter, page)
		return err
	})
	if err != nil {
		return err
	}

	body := append(c.newBodyFor(minTransfer), `{"entries":`...)
	body, err = appendEntries(body, entries)
	if err != nil {
		return err
	}
	if next != "" { // a number, which needs no escaping
		body = append(body, `,"next":"`...)
		body = append(body, next...)
		body = append(body, '"')
	}
	c.writeBody(http.StatusOK, append(body, '}'))
	return nil
}

func appendEntries(b []byte, entries []wallet.Entry) ([]byte, error) {
	b = append(b, '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}

		var err error
		b, err = appendEntry(b, &entries[i])
		if err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendEntry(b []byte, e *wallet.Entry) ([]byte, error) {
	return appendWithMetadata(b, newEntryShape(e), e.Metadata, `,"hash":"`)
}

// EntryJSON returns the JSON of an entry, in the same form as in the API.
func EntryJSON(e *wallet.Entry) ([]byte, error) { return appendEntry(nil, e) }
