package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/bench/histogram"
	"github.com/redroomrewards/realtime/bench/rawhttp"
)

// load is a closed loop: each client sends its next request when it has the answer to the previous
// one.
type load struct {
	addr     string
	token    string
	clients  int
	accounts int
	kind     kind
	keys     string // part of every idempotency key of this load

	window  atomic.Pointer[histogram.Histogram] // counts the latencies; nil: they do not count
	held    atomic.Int64                        // holds that were answered with 201
	settled atomic.Int64                        // settlements that were answered with 200

	mu           sync.Mutex // protects the fields below
	failures     int
	firstFailure error
}

const (
	holdAmount  = 1
	maxAccounts = 99_999_999
	models      = 100

	// maxUsed is the largest number of accounts that a load uses, so that Redis need not store all
	// accounts. A run has far fewer operations. The used accounts are spread over all accounts.
	maxUsed = 250_000
)

func (l *load) usedAccounts() int { return min(l.accounts, maxUsed) }

// accountNumber returns the number of the n-th account that the load uses.
func (l *load) accountNumber(n int) int { return n * (l.accounts / l.usedAccounts()) }

// accountName returns the name of an account. All names have the same length.
func accountName(n int) string { return fmt.Sprintf("user:b%08d", n) }

// runClients sends requests until ctx ends. It returns when all requests have an answer.
func (l *load) runClients(ctx context.Context) {
	var wg sync.WaitGroup
	for n := range l.clients {
		wg.Go(func() {
			err := l.runClient(ctx, n)
			if err != nil {
				l.addFailure(err)
			}
		})
	}

	wg.Wait()
}

func (l *load) addFailure(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	if l.firstFailure == nil {
		l.firstFailure = err
	}
}

// failureError returns an error if any request failed.
func (l *load) failureError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.firstFailure == nil {
		return nil
	}
	return fmt.Errorf("%d requests failed; the first error: %w", l.failures, l.firstFailure)
}

// runClient runs one client on one connection. It stops at a connection error. An unexpected status
// is counted as a failure, and the client continues.
func (l *load) runClient(ctx context.Context, n int) error {
	conn, err := rawhttp.Dial(ctx, l.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	random := rand.New(rand.NewPCG(7, uint64(n))) //nolint:gosec // the same accounts in every run
	if l.kind.batch > 0 {
		return l.sendBatches(ctx, conn, n, random)
	}

	hold := l.holdRequest(n)
	settle := l.settleRequest(n)
	for i := uint64(1); ctx.Err() == nil; i++ {
		account := 0
		if !l.kind.hot {
			account = l.accountNumber(random.IntN(l.usedAccounts()))
		}

		hold.putNumber(i)
		rawhttp.PutNumber(hold.account, uint64(account)) //nolint:gosec // not negative

		begin := time.Now()
		status, body, err := conn.Do(hold.bytes)
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			l.addFailure(fmt.Errorf("a hold was answered with %d: %s", status, body))
			continue
		}

		l.held.Add(1)

		if l.kind.settle {
			settle.putNumber(i)
			rawhttp.PutNumber(settle.account, uint64(random.IntN(models))) //nolint:gosec // not negative
			if !copyEscrowID(settle.escrow, body) {
				return fmt.Errorf("a receipt must have an escrowId: %s", body)
			}

			status, body, err = conn.Do(settle.bytes)
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				l.addFailure(fmt.Errorf("a settlement was answered with %d: %s", status, body))
				continue
			}

			l.settled.Add(1)
		}

		h := l.window.Load()
		if h != nil {
			h.Add(time.Since(begin))
		}
	}

	return nil
}

// request is a prebuilt request. The other fields are the parts of bytes that change.
type request struct {
	bytes   []byte
	account []byte
	escrow  []byte
	key     []byte
	item    []byte
}

// putNumber writes the number of the request into its key and its queue item.
func (r *request) putNumber(i uint64) {
	rawhttp.PutNumber(r.key, i)
	rawhttp.PutNumber(r.item, i)
}

const (
	keySlot    = "##########"
	itemSlot   = "%%%%%%%%%%"
	escrowSlot = "$$$$$$$$-$$$$-$$$$-$$$$-$$$$$$$$$$$$"
)

func (l *load) headerLines(n int) string {
	return fmt.Sprintf("Authorization: Bearer %s\r\nIdempotency-Key: bench-%s-%03d-%s\r\n",
		l.token, l.keys, n, keySlot)
}

func (l *load) holdRequest(n int) *request {
	b := rawhttp.Post("/v1/accounts/user:b&&&&&&&&/holds", l.addr, l.headerLines(n),
		fmt.Sprintf(`{"amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%03d-%s","featureType":"chip_menu"}`, holdAmount, n, itemSlot))
	return &request{
		bytes:   b,
		account: rawhttp.Slot(b, "&&&&&&&&"),
		key:     rawhttp.Slot(b, keySlot),
		item:    rawhttp.Slot(b, itemSlot),
	}
}

func (l *load) settleRequest(n int) *request {
	b := rawhttp.Post("/v1/escrows/"+escrowSlot+"/settle", l.addr, l.headerLines(n),
		fmt.Sprintf(`{"modelId":"model:b&&","amount":%d,"reason":"performance_completed","queueItemId":"queue-%03d-%s"}`, holdAmount, n, itemSlot))
	return &request{
		bytes:   b,
		account: rawhttp.Slot(b, "&&"),
		escrow:  rawhttp.Slot(b, escrowSlot),
		key:     rawhttp.Slot(b, keySlot),
		item:    rawhttp.Slot(b, itemSlot),
	}
}

// copyEscrowID copies the escrowId of a receipt to dst. It reports whether there is one of this
// length.
func copyEscrowID(dst, receipt []byte) bool {
	_, rest, found := bytes.Cut(receipt, []byte(`"escrowId":"`))
	if !found || len(rest) <= len(dst) || rest[len(dst)] != '"' {
		return false
	}

	copy(dst, rest)
	return true
}
