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

// load is clients that each send one request after the other, closed loop.
type load struct {
	addr, token       string
	clients, accounts int
	kind              kind
	keys              string // part of each of its idempotency keys

	window atomic.Pointer[histogram.Histogram] // where latencies count now; nil: nowhere
	held   atomic.Int64                        // holds answered 201
	ended  atomic.Int64                        // settlements answered 200

	mu       sync.Mutex // protects what follows
	failures int
	first    error
}

const (
	holdAmount  = 1
	maxAccounts = 99_999_999
	models      = 100

	// mostUsed is how many accounts a load chooses from, so that Redis need not
	// hold them all: many more than a run has operations, and spread over all.
	mostUsed = 250_000
)

func (l *load) used() int { return min(l.accounts, mostUsed) }

// account is the number of the n-th account that is used.
func (l *load) account(n int) int { return n * (l.accounts / l.used()) }

// accountOf is an account's name; all names have the same length.
func accountOf(n int) string { return fmt.Sprintf("user:b%08d", n) }

// run drives the server until ctx ends and every answer has come.
func (l *load) run(ctx context.Context) {
	var wg sync.WaitGroup
	for n := range l.clients {
		wg.Go(func() {
			if err := l.client(ctx, n); err != nil {
				l.fail(err)
			}
		})
	}
	wg.Wait()
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	if l.first == nil {
		l.first = err
	}
}

// failure tells whether any request failed.
func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		return nil
	}
	return fmt.Errorf("%d requests failed, the first: %w", l.failures, l.first)
}

// client is one connection. An error ends it; a refusal does not.
func (l *load) client(ctx context.Context, n int) error {
	conn, err := rawhttp.Dial(ctx, l.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	random := rand.New(rand.NewPCG(7, uint64(n))) //nolint:gosec // the same accounts in every run
	if l.kind.batch > 0 {
		return l.batches(ctx, conn, n, random)
	}
	hold, settle := l.holdRequest(n), l.settleRequest(n)
	for i := uint64(1); ctx.Err() == nil; i++ {
		account := 0
		if !l.kind.hot {
			account = l.account(random.IntN(l.used()))
		}
		hold.number(i)
		rawhttp.PutNumber(hold.account, uint64(account)) //nolint:gosec // not negative
		begin := time.Now()
		status, body, err := conn.Do(hold.bytes)
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			l.fail(fmt.Errorf("a hold was answered %d: %s", status, body))
			continue
		}
		l.held.Add(1)
		if l.kind.settle {
			settle.number(i)
			rawhttp.PutNumber(settle.account, uint64(random.IntN(models))) //nolint:gosec // not negative
			if !cutEscrow(settle.escrow, body) {
				return fmt.Errorf("a receipt without escrowId: %s", body)
			}
			if status, body, err = conn.Do(settle.bytes); err != nil {
				return err
			}
			if status != http.StatusOK {
				l.fail(fmt.Errorf("a settlement was answered %d: %s", status, body))
				continue
			}
			l.ended.Add(1)
		}
		if h := l.window.Load(); h != nil {
			h.Add(time.Since(begin))
		}
	}
	return nil
}

// request is a prebuilt request and the places in it that change.
type request struct {
	bytes, account, escrow, key, item []byte
}

func (r *request) number(i uint64) {
	rawhttp.PutNumber(r.key, i)
	rawhttp.PutNumber(r.item, i)
}

const (
	keySlot    = "##########"
	itemSlot   = "%%%%%%%%%%"
	escrowSlot = "$$$$$$$$-$$$$-$$$$-$$$$-$$$$$$$$$$$$"
)

func (l *load) header(n int) string {
	return fmt.Sprintf("Authorization: Bearer %s\r\nIdempotency-Key: bench-%s-%03d-%s\r\n", l.token, l.keys, n, keySlot)
}

func (l *load) holdRequest(n int) *request {
	b := rawhttp.Post("/v1/accounts/user:b&&&&&&&&/holds", l.addr, l.header(n),
		fmt.Sprintf(`{"amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%03d-%s","featureType":"chip_menu"}`, holdAmount, n, itemSlot))
	return &request{
		bytes: b, account: rawhttp.Slot(b, "&&&&&&&&"), key: rawhttp.Slot(b, keySlot), item: rawhttp.Slot(b, itemSlot),
	}
}

func (l *load) settleRequest(n int) *request {
	b := rawhttp.Post("/v1/escrows/"+escrowSlot+"/settle", l.addr, l.header(n),
		fmt.Sprintf(`{"modelId":"model:b&&","amount":%d,"reason":"performance_completed","queueItemId":"queue-%03d-%s"}`, holdAmount, n, itemSlot))
	return &request{
		bytes: b, account: rawhttp.Slot(b, "&&"), escrow: rawhttp.Slot(b, escrowSlot),
		key: rawhttp.Slot(b, keySlot), item: rawhttp.Slot(b, itemSlot),
	}
}

// cutEscrow copies the escrowId of a receipt.
func cutEscrow(dst, receipt []byte) bool {
	_, rest, ok := bytes.Cut(receipt, []byte(`"escrowId":"`))
	return ok && len(rest) > len(dst) && rest[len(dst)] == '"' && copy(dst, rest) == len(dst)
}
