package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/rawhttp"
	"github.com/redroomrewards/realtime/bench/stack"
)

// account is one user's account and the driver's connection for it. Its operations alternate: a
// hold, and then one of the three operations that close the escrow.
type account struct {
	name   string
	addr   string
	token  string
	conn   *rawhttp.Conn
	escrow string // the open escrow; empty: none
	count  int    // completed operations
	start  int64  // seq before the first operation
	done   []operation
}

// operation is an operation that was answered.
type operation struct {
	due      time.Time
	sent     time.Time
	answered time.Time
	seq      int64 // of the user, after the operation
}

// receipt holds the fields of a receipt that the driver needs.
type receipt struct {
	EscrowID string `json:"escrowId"`
	Balances []struct {
		Account string `json:"account"`
		Seq     int64  `json:"seq"`
	} `json:"balances"`
}

const (
	startAmount = 1_000_000
	holdAmount  = 10
)

func accountName(n int) string { return fmt.Sprintf("user:p%d", n) }

// openAccounts connects and credits the accounts. The first credit creates an account.
func openAccounts(ctx context.Context, secret stack.Secret, addr string, o *options) ([]*account, error) {
	raw, err := secret.Token("bench", nil, scopes...)
	if err != nil {
		return nil, err
	}

	accounts := make([]*account, 0, o.accounts)
	for n := range o.accounts {
		conn, err := rawhttp.Dial(ctx, addr)
		if err != nil {
			return accounts, err
		}

		a := &account{
			name:  accountName(n),
			addr:  addr,
			token: raw,
			conn:  conn,
		}
		accounts = append(accounts, a)

		body := fmt.Sprintf(`{"amount":%d,"reason":"user_signup_bonus"}`, startAmount)
		r, err := a.postOperation("/v1/accounts/"+a.name+"/credits", 201, body)
		if err != nil {
			return accounts, fmt.Errorf("%s: %w", a.name, err)
		}

		a.start = r.Balances[0].Seq
	}

	return accounts, nil
}

func closeAccounts(accounts []*account) {
	for _, a := range accounts {
		_ = a.conn.Close()
	}
}

// lastSeq returns the seq of the account's newest event.
func (a *account) lastSeq() int64 {
	if len(a.done) == 0 {
		return a.start
	}
	return a.done[len(a.done)-1].seq
}

// runOperation runs the account's next operation, which was due at the given time.
func (a *account) runOperation(due time.Time) error {
	path := "/v1/accounts/" + a.name + "/holds"
	status := 201
	const hold = `{"amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%d","featureType":"chip_menu"}`
	body := fmt.Sprintf(hold, holdAmount, a.count)
	if a.escrow != "" {
		status = 200
		path, body = a.closingRequest()
	}

	sent := time.Now()
	r, err := a.postOperation(path, status, body)
	if err != nil {
		return err
	}

	a.done = append(a.done, operation{
		due:      due,
		sent:     sent,
		answered: time.Now(),
		seq:      r.Balances[0].Seq,
	})
	if a.escrow == "" {
		a.escrow = r.EscrowID
	} else {
		a.escrow = ""
	}
	return nil
}

// closingRequest returns the operation that closes the escrow. The three kinds alternate.
func (a *account) closingRequest() (path, body string) {
	escrow := "/v1/escrows/" + a.escrow
	item := fmt.Sprintf(`"reason":"performance_completed","queueItemId":"queue-%d"`, a.count)
	switch a.count / 2 % 3 {
	case 0:
		body := fmt.Sprintf(`{"modelId":"model:p","amount":%d,%s}`, holdAmount, item)
		return escrow + "/settle", body
	case 1:
		body := fmt.Sprintf(`{"amount":%d,%s}`, holdAmount, item)
		return escrow + "/refund", body
	default:
		const format = `{"modelId":"model:p","refundAmount":1,"settleAmount":%d,%s}`
		return escrow + "/partial-settle", fmt.Sprintf(format, holdAmount-1, item)
	}
}

// postOperation sends a request and returns the receipt. The status of the answer must be want.
func (a *account) postOperation(path string, want int, body string) (*receipt, error) {
	header := fmt.Sprintf("Authorization: Bearer %s\r\nIdempotency-Key: %s-%d\r\n",
		a.token, a.name, a.count)
	status, answer, err := a.conn.Do(rawhttp.Post(path, a.addr, header, body))
	if err != nil {
		return nil, err
	}
	if status != want {
		return nil, fmt.Errorf("%s was answered with %d: %s", path, status, answer)
	}

	a.count++

	r := new(receipt)
	err = json.Unmarshal(answer, r)
	if err != nil {
		return nil, err
	}
	if len(r.Balances) == 0 || r.Balances[0].Account != a.name {
		return nil, fmt.Errorf("the answer to %s must begin with the user's balance: %s",
			path, answer)
	}
	return r, nil
}
