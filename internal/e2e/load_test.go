package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// load keeps writing until it is stopped. It records each write and its answer.
type load struct {
	w      *world
	apis   []*api
	users  []string
	models []string

	// ledgerGoesBack allows the answer that an escrow does not exist.
	ledgerGoesBack bool

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex // protects the fields below
	records    []*writeRecord
	done       int
	refused    int           // answered 503
	unanswered int           // without an answer
	slowest    time.Duration // of the writes that were done
}

// writeRecord is one write, and its receipt if the write was answered.
type writeRecord struct {
	operation client.Operation
	answered  bool
	receipt   client.Receipt
}

// loadCredit is the credit of each user before the load begins.
const loadCredit = 1_000_000_000

// startLoad credits the users and starts workers that hold, settle, refund and settle in part.
func (w *world) startLoad(workers int, apis []*api, users, models []string) *load {
	w.Helper()
	l := &load{w: w, apis: apis, users: users, models: models}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for _, user := range users {
		op := newCredit(user, loadCredit)
		receipt := apis[0].mustDo(op)
		l.records = append(l.records, &writeRecord{operation: op, answered: true, receipt: receipt})
	}
	for i := range workers {
		l.wg.Go(func() { l.runWorker(i) })
	}
	w.Cleanup(l.stopWorkers)
	return l
}

// stopWorkers returns when the last worker has its answer. It may be called twice.
func (l *load) stopWorkers() {
	l.cancel()
	l.wg.Wait()
}

func (l *load) runWorker(worker int) {
	// The pauses leave processor time for the programs, and keep failed writes few.
	const pauseAfterStart = 40 * time.Millisecond
	const pauseAfterFailure = 100 * time.Millisecond
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := worker; ; n++ {
		select {
		case <-l.ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(pauseAfterStart)
		if !l.holdAndClose(l.apis[n%len(l.apis)]) {
			pause.Reset(pauseAfterFailure)
		}
	}
}

// holdAndClose holds points and closes the escrow in one of three ways, or not at all. It reports
// whether the hold was done.
func (l *load) holdAndClose(a *api) bool {
	amount := 2 + rand.Int64N(50)
	held, ok := l.doWrite(a, newHold(pickRandom(l.users), amount))
	if !ok {
		return false
	}
	escrow := held.EscrowID
	switch rand.IntN(4) {
	case 0:
		// The escrow stays held.
	case 1:
		l.doWrite(a, newSettle(escrow, pickRandom(l.models), amount))
	case 2:
		l.doWrite(a, newRefund(escrow, amount))
	case 3:
		l.doWrite(a, newPartialSettle(escrow, pickRandom(l.models), 1, amount-1))
	}
	return true
}

func pickRandom(from []string) string { return from[rand.IntN(len(from))] }

// doWrite sends the write and records it. It reports false if the write may or may not be done.
func (l *load) doWrite(a *api, op client.Operation) (client.Receipt, bool) {
	start := time.Now()
	receipt, err := a.sendOnce(op)
	duration := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	record := &writeRecord{operation: op}
	l.records = append(l.records, record)
	switch {
	case err == nil:
		l.done++
		l.slowest = max(l.slowest, duration)
		record.answered = true
		record.receipt = receipt
		return receipt, true
	case !hasAnswer(err):
		l.unanswered++
	case isRefused(err):
		l.refused++
	case l.ledgerGoesBack && errors.Is(err, client.ErrEscrowNotFound):
	default:
		l.w.Error(err)
	}
	return client.Receipt{}, false
}

// waitForWrites waits until n more writes are done.
func (l *load) waitForWrites(n int) {
	l.w.Helper()
	before := l.countDone()
	l.w.waitUntil(fmt.Sprintf("%d more writes are done", n), func() bool { return l.countDone() >= before+n })
}

func (l *load) countDone() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// checkNoneFailed stops the workers. It wants all writes to be done at the first try.
func (l *load) checkNoneFailed() {
	l.w.Helper()
	l.stopWorkers()
	checkEqual(l.w, "refused writes", l.refused, 0)
	checkEqual(l.w, "writes without an answer", l.unanswered, 0)
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d writes done, the slowest in %s; %d refused, %d without an answer",
		l.done, l.slowest.Round(time.Millisecond), l.refused, l.unanswered)
}

// checkRetries stops the workers and retries every write. A write that was answered gets the same
// answer. The others are done now, or were done at the first try. So each key has one effect.
func (l *load) checkRetries(a *api) {
	l.w.Helper()
	l.stopWorkers()
	queue := make(chan *writeRecord)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for record := range queue {
				l.checkRetry(a, record)
			}
		})
	}
	for _, record := range l.records {
		queue <- record
	}
	close(queue)
	wg.Wait()

	ids := map[string]bool{}
	for _, record := range l.records {
		ids[record.receipt.TransactionID] = true
	}
	checkEqual(l.w, "different transactions in the receipts", len(ids), len(l.records))
	transactions := l.w.queryInt(`SELECT count(*) FROM transactions`)
	checkEqual(l.w, "transactions in the ledger", transactions, int64(len(l.records)))
	l.w.Log(l)
}

func (l *load) checkRetry(a *api, record *writeRecord) {
	name := fmt.Sprintf("retry of %+v", record.operation)
	got, err := a.sendOnce(record.operation)
	if err != nil {
		l.w.Errorf("%s: %v", name, err)
		return
	}
	if !record.answered {
		record.receipt = got
		return
	}
	checkEqual(l.w, name+" is replayed", got.Replayed, true)
	checkEqual(l.w, name+": transaction", got.TransactionID, record.receipt.TransactionID)
	checkEqual(l.w, name+": timestamp", got.Timestamp, record.receipt.Timestamp)
}

// listAccounts lists the accounts to which the load writes.
func (l *load) listAccounts() []string { return slices.Concat(l.users, l.models) }

// dropRetries drops all records of the operation but the first one.
func (l *load) dropRetries(op client.Operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := false
	l.records = slices.DeleteFunc(l.records, func(record *writeRecord) bool {
		if record.operation != op {
			return false
		}
		isRetry := found
		found = true
		return isRetry
	})
}

// checkAgreement wants the ledger, the streams, the balance hashes and the clients to agree on each
// account, and the ledger's entries to sum to zero.
func (w *world) checkAgreement(a *api, reader *streamReader, accounts []string, clients ...*rawClient) {
	w.Helper()
	w.waitUntilPublished()
	reader.readAll()
	for _, account := range accounts {
		history := a.readHistory(account)
		b := a.readBalance(account)
		checkEqual(w, "seq in the balance of "+account, b.Seq, int64(len(history)))
		reader.checkAccount(account, history)
		w.checkHash(b)
		for _, c := range clients {
			if slices.Contains(c.accounts, account) {
				c.checkAccount(account, history, b)
			}
		}
	}
	reader.checkCopies()
	w.checkSums()
}

// checkSums wants the entries of each transaction to sum to zero, and those of each account to its
// balance.
func (w *world) checkSums() {
	w.Helper()
	uneven := w.queryInt(`SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY transaction_id HAVING sum(amount) <> 0) AS uneven`)
	checkEqual(w, "transactions whose entries do not sum to zero", uneven, 0)
	wrong := w.queryInt(`SELECT count(*) FROM wallets w WHERE w.available + w.escrow + w.earned <>
		(SELECT coalesce(sum(e.amount), 0) FROM entries e WHERE e.account = w.account)`)
	checkEqual(w, "balances that are not the sum of their entries", wrong, 0)
}
