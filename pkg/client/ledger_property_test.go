package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// hostileNetwork is a transport that loses requests and answers, cuts answers, repeats requests and
// lets proxies answer.
type hostileNetwork struct {
	next http.RoundTripper

	mu     sync.Mutex // protects random
	random *rand.Rand
}

var errLost = errors.New("the network lost it")

func (h *hostileNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	fate := h.random.IntN(20)
	h.mu.Unlock()
	switch fate {
	case 0: // the request is lost
		return nil, errLost
	case 1: // the answer is lost
		response, err := h.next.RoundTrip(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		return nil, errLost
	case 2: // the answer is cut
		response, err := h.next.RoundTrip(r)
		if err == nil {
			response.Body = &cutBody{response.Body, 10}
		}
		return response, err
	case 3: // the request arrives twice
		return h.sendTwice(r)
	case 4: // a proxy answers, and the core has the request
		response, err := h.next.RoundTrip(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			response.StatusCode = http.StatusGatewayTimeout
			response.Body = http.NoBody
		}
		return response, err
	case 5: // a proxy answers, and the core does not have the request
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody}, nil
	}
	return h.next.RoundTrip(r)
}

// sendTwice sends the request twice, the second time while the first may still run.
func (h *hostileNetwork) sendTwice(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	copyOf := func() *http.Request {
		c := r.Clone(r.Context())
		if body != nil {
			c.Body = io.NopCloser(bytes.NewReader(body))
		}
		return c
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		response, err := h.next.RoundTrip(copyOf())
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	})
	response, err := h.next.RoundTrip(copyOf())
	wg.Wait()
	return response, err
}

// cutBody is a body that ends with an error after some bytes.
type cutBody struct {
	io.ReadCloser
	left int
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// backend is a service that makes operations for one user and one model of its own. It knows what
// their balances must be.
type backend struct {
	*testing.T
	ledger  *client.Ledger
	random  *rand.Rand
	user    string
	model   string
	held    []client.Receipt // the open escrows
	balance map[string]*client.Balance
}

// Through a hostile network every operation is done exactly once, and every refusal is right.
func TestLedgerDoesNothingTwice(t *testing.T) {
	t.Parallel()
	const backends = 64
	const steps = 25 // each makes up to 3 operations
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := startCore(t)
	network := &hostileNetwork{
		next:   &http.Transport{MaxIdleConnsPerHost: 2 * backends},
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	ledger := newLedger(t, c.url, client.LedgerConfig{HTTPClient: &http.Client{Transport: network}})

	var wg sync.WaitGroup
	all := make([]*backend, backends)
	for i := range all {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		b := &backend{
			T:       t,
			ledger:  ledger,
			random:  rand.New(rand.NewPCG(seed, uint64(i+1))),
			user:    "user:" + name,
			model:   "model:" + name,
			balance: map[string]*client.Balance{"user:" + name: {}, "model:" + name: {}},
		}
		all[i] = b
		wg.Go(func() {
			for range steps {
				b.makeStep(t.Context())
			}
		})
	}
	wg.Wait()
	for _, b := range all {
		for account, want := range b.balance {
			if want.Seq > 0 {
				c.checkBalance(account, *want)
			}
		}
	}
}

func (b *backend) makeStep(ctx context.Context) {
	amount := 1 + b.random.Int64N(50)
	switch n := b.random.IntN(10); {
	case n < 2:
		b.apply(b.ledger.Credit(ctx, credit(b.user, 2*amount)))
	case n == 2:
		b.apply(b.ledger.Debit(ctx, client.Debit{Account: b.user, Amount: amount, Reason: "payout"}))
	case n == 3:
		b.makeBatch(ctx, amount)
	case n < 7:
		b.apply(b.ledger.Hold(ctx, hold(b.user, amount)))
	case len(b.held) > 0:
		escrow := b.held[0]
		b.held = b.held[1:]
		b.closeEscrow(ctx, escrow)
	}
}

func (b *backend) closeEscrow(ctx context.Context, escrow client.Receipt) {
	id := escrow.EscrowID
	refund := escrow.Amount / 2
	switch n := b.random.IntN(3); {
	case n == 0:
		b.apply(b.ledger.Refund(ctx, client.Refund{EscrowID: id, Amount: escrow.Amount, Reason: "performance_abandoned", QueueItemID: "q"}))
	case n == 1 && refund > 0:
		b.apply(b.ledger.PartialSettle(ctx, client.PartialSettle{
			EscrowID: id, ModelID: b.model, RefundAmount: refund, SettleAmount: escrow.Amount - refund,
			Reason: "partial_performance", QueueItemID: "q",
		}))
	default:
		b.apply(b.ledger.Settle(ctx, settle(id, b.model, escrow.Amount)))
	}
}

func (b *backend) makeBatch(ctx context.Context, amount int64) {
	results, err := b.ledger.Batch(ctx, []client.Operation{
		credit(b.user, amount),
		hold(b.user, 3*amount),
		client.Debit{Account: b.user, Amount: amount, Reason: "payout"},
	})
	if err != nil {
		b.Errorf("batch: %v", err)
		return
	}
	for i := range results {
		receipt := client.Receipt{}
		if results[i].Receipt != nil {
			receipt = *results[i].Receipt
		}
		b.apply(receipt, results[i].Err())
	}
}

// apply applies the outcome of an operation to what the balances must be.
func (b *backend) apply(receipt client.Receipt, err error) {
	if errors.Is(err, client.ErrInsufficientFunds) || errors.Is(err, client.ErrAccountNotFound) {
		return
	}
	if err != nil {
		b.Errorf("operation of %s: %v", b.user, err)
		return
	}
	user := b.balance[b.user]
	model := b.balance[b.model]
	switch receipt.Operation {
	case client.OperationCredit:
		user.Available += receipt.Amount
		user.Seq++
	case client.OperationDebit:
		user.Available -= receipt.Amount
		user.Seq++
	case client.OperationHold:
		user.Available -= receipt.Amount
		user.Escrow += receipt.Amount
		user.Seq += 3
		b.held = append(b.held, receipt)
	case client.OperationSettle:
		user.Escrow -= receipt.Amount
		user.Seq += 2
		model.Earned += receipt.Amount
		model.Seq += 2
	case client.OperationRefund:
		user.Escrow -= receipt.Amount
		user.Available += receipt.Amount
		user.Seq += 3
	case client.OperationPartialSettle:
		refund := receipt.Amount / 2
		user.Escrow -= receipt.Amount
		user.Available += refund
		user.Seq += 3
		model.Earned += receipt.Amount - refund
		model.Seq += 2
	}
	got, ok := receipt.BalanceOf(b.user)
	if !ok {
		b.Errorf("the receipt of %s has no balance of %s", receipt.Operation, b.user)
		return
	}
	if got.Available != user.Available || got.Escrow != user.Escrow || got.Seq != user.Seq {
		b.Errorf("%s of %s: got %d available, %d in escrow and seq %d, want %d, %d and %d", receipt.Operation, b.user,
			got.Available, got.Escrow, got.Seq, user.Available, user.Escrow, user.Seq)
	}
}
