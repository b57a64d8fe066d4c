package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// object is a JSON object of the wire contract, decoded without the types of the programs.
type object = map[string]any

// The operations.
const (
	opCredit        = "credit"
	opDebit         = "debit"
	opHold          = "hold"
	opSettle        = "settle"
	opRefund        = "refund"
	opPartialSettle = "partial_settle"
)

// escrow is one that a hold made.
type escrow struct {
	id      string
	user    string
	amount  int64
	expires int // seconds; 0: never
}

// call is one operation with its idempotency key. It is sent until its answer is definite.
type call struct {
	operation string
	key       string
	account   string // of a credit, a debit or a hold; otherwise the user of the escrow
	escrow    *escrow
	model     string
	amount    int64 // of a partial settlement: what the user gets back
	settled   int64 // of a partial settlement: what the model gets
	expires   int   // of a hold, in seconds; 0: never

	// The answer.
	began     time.Duration // since the start of the episode
	ended     time.Duration
	abandoned bool // an attempt had no definite answer, so it may still be done later
	done      bool
	code      string // of a refusal
	receipt   receipt
	raw       []byte // the body of the first answer
}

type receipt struct {
	TransactionID string    `json:"transactionId"`
	EscrowID      string    `json:"escrowId"`
	Balances      []balance `json:"balances"`
}

type balance struct {
	Account          string `json:"account"`
	AvailableBalance int64  `json:"availableBalance"`
	EscrowBalance    int64  `json:"escrowBalance"`
	EarnedBalance    int64  `json:"earnedBalance"`
	Seq              int64  `json:"seq"`
	Chain            string `json:"chain"`
}

// find returns the balance of an account after the operation.
func (r *receipt) find(account string) (balance, bool) {
	for _, b := range r.Balances {
		if b.Account == account {
			return b, true
		}
	}
	return balance{}, false
}

func (c *call) String() string {
	text := fmt.Sprintf("%s of %s (key %s, amount %d, settled %d", c.operation, c.account, c.key, c.amount, c.settled)
	if c.escrow != nil {
		text += ", escrow " + c.escrow.id
	}
	if c.model != "" {
		text += ", " + c.model
	}
	answer := "no answer"
	if c.done {
		answer = "done as " + c.receipt.TransactionID
	} else if c.code != "" {
		answer = "refused with " + c.code
	}
	return fmt.Sprintf("%s) from %.3f s to %.3f s: %s", text, c.began.Seconds(), c.ended.Seconds(), answer)
}

// path returns the path of the single call.
func (c *call) path() string {
	switch c.operation {
	case opCredit, opDebit, opHold:
		return "/v1/accounts/" + c.account + "/" + c.operation + "s"
	case opPartialSettle:
		return "/v1/escrows/" + c.escrow.id + "/partial-settle"
	}
	return "/v1/escrows/" + c.escrow.id + "/" + c.operation
}

// body returns the body of the single call. The correlation id finds the call in the ledger's events.
func (c *call) body() object {
	body := object{"reason": "admin_credit", "correlationId": c.key, "amount": c.amount}
	switch c.operation {
	case opDebit:
		body["reason"] = "admin_debit"
	case opHold:
		body["reason"] = "chip_menu_purchase"
		body["queueItemId"] = "q1"
		body["featureType"] = "chip_menu"
		if c.expires > 0 {
			body["expiresInSeconds"] = c.expires
		}
	case opSettle:
		body["reason"] = "performance_completed"
		body["queueItemId"] = "q1"
		body["modelId"] = c.model
	case opRefund:
		body["reason"] = "performance_abandoned"
		body["queueItemId"] = "q1"
	case opPartialSettle:
		body["reason"] = "partial_performance"
		body["queueItemId"] = "q1"
		body["modelId"] = c.model
		body["refundAmount"] = c.amount
		body["settleAmount"] = c.settled
		delete(body, "amount")
	}
	return body
}

// item returns the call as an operation of a batch.
func (c *call) item() object {
	item := c.body()
	item["operation"] = c.operation
	item["idempotencyKey"] = c.key
	if c.escrow != nil {
		item["escrowId"] = c.escrow.id
	} else {
		item["account"] = c.account
	}
	return item
}

// answer is the response to one attempt.
type answer struct {
	status   int // 0: no complete answer
	replayed bool
	raw      []byte
}

// isDone reports whether the operation was done.
func (a answer) isDone() bool { return a.status == http.StatusOK || a.status == http.StatusCreated }

// problemCode returns the code of a problem document.
func (a answer) problemCode() string {
	var problem struct{ Code string }
	_ = json.Unmarshal(a.raw, &problem) // no code if it is none
	return problem.Code
}

// isRefusal reports whether the core has decided that the operation is not possible.
func (a answer) isRefusal() bool {
	switch a.status {
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// post sends a write once, to the core whose address is given.
func (w *world) post(address, path, token, key string, body object, limit time.Duration) answer {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // the bodies have only texts and numbers
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(raw))
	if err != nil {
		return answer{}
	}
	req.GetBody = nil // otherwise the HTTP client may retry, because of the Idempotency-Key
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	var received bytes.Buffer
	_, err = received.ReadFrom(resp.Body)
	if err != nil {
		return answer{}
	}
	return answer{
		status:   resp.StatusCode,
		replayed: resp.Header.Get("Idempotent-Replayed") == "true",
		raw:      bytes.TrimSpace(received.Bytes()),
	}
}
