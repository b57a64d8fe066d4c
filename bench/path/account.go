package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/rawhttp"
	"github.com/redroomrewards/realtime/bench/stack"
)

// account is one user's points and the driver's connection for them. Its
// operations take turns: a hold, then one of the three ways to end it.
type account struct {
	name   string
	addr   string
	token  string
	conn   *rawhttp.Conn
	escrow string // the one that is held; empty: none
	count  int    // operations done
	start  int64  // seq before the first operation
	done   []operation
}

// operation is what was answered.
type operation struct {
	due, sent, answered time.Time
	seq                 int64 // the user's, after it
}

// receipt is what the driver needs of one.
type receipt struct {
	EscrowID string `json:"escrowId"`
	Balances []struct {
		Account string `json:"accountId"`
		Seq     int64  `json:"seq"`
	} `json:"balances"`
}

const (
	startAmount = 1_000_000
	holdAmount  = 10
)

func accountOf(n int) string { return fmt.Sprintf("user:p%d", n) }

// openAccounts credits the accounts, so that they are there, and connects.
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
		a := &account{name: accountOf(n), addr: addr, token: raw, conn: conn}
		accounts = append(accounts, a)
		r, err := a.post("/v1/accounts/"+a.name+"/credits", 201, fmt.Sprintf(`{"amount":%d,"reason":"user_signup_bonus"}`, startAmount))
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

// seq of the account's newest event.
func (a *account) seq() int64 {
	if len(a.done) == 0 {
		return a.start
	}
	return a.done[len(a.done)-1].seq
}

// operate does the account's next operation, which was due at that time.
func (a *account) operate(due time.Time) error {
	path, status, body := "/v1/accounts/"+a.name+"/holds", 201,
		fmt.Sprintf(`{"amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%d","featureType":"chip_menu"}`, holdAmount, a.count)
	if a.escrow != "" {
		status = 200
		path, body = a.ending()
	}
	o := operation{due: due, sent: time.Now()}
	r, err := a.post(path, status, body)
	if err != nil {
		return err
	}
	o.answered, o.seq = time.Now(), r.Balances[0].Seq
	a.done = append(a.done, o)
	if a.escrow == "" {
		a.escrow = r.EscrowID
	} else {
		a.escrow = ""
	}
	return nil
}

// ending is the way out of escrow whose turn it is.
func (a *account) ending() (path, body string) {
	item := fmt.Sprintf(`"reason":"performance_completed","queueItemId":"queue-%d"`, a.count)
	switch a.count / 2 % 3 {
	case 0:
		return "/v1/escrows/" + a.escrow + "/settle", fmt.Sprintf(`{"modelId":"model:p","amount":%d,%s}`, holdAmount, item)
	case 1:
		return "/v1/escrows/" + a.escrow + "/refund", fmt.Sprintf(`{"amount":%d,%s}`, holdAmount, item)
	default:
		return "/v1/escrows/" + a.escrow + "/partial-settle",
			fmt.Sprintf(`{"modelId":"model:p","refundAmount":1,"settleAmount":%d,%s}`, holdAmount-1, item)
	}
}

func (a *account) post(path string, want int, body string) (*receipt, error) {
	header := fmt.Sprintf("Authorization: Bearer %s\r\nIdempotency-Key: %s-%d\r\n", a.token, a.name, a.count)
	status, answer, err := a.conn.Do(rawhttp.Post(path, a.addr, header, body))
	if err != nil {
		return nil, err
	}
	if status != want {
		return nil, fmt.Errorf("%s was answered %d: %s", path, status, answer)
	}
	a.count++
	r := new(receipt)
	if err := json.Unmarshal(answer, r); err != nil {
		return nil, err
	}
	if len(r.Balances) == 0 || r.Balances[0].Account != a.name {
		return nil, fmt.Errorf("%s was answered without the user's balance: %s", path, answer)
	}
	return r, nil
}
