package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load keeps writing until it is stopped, and remembers each write and whether it was answered.
type load struct {
	w             *world
	apis          []*api
	users, models []string

	wg   sync.WaitGroup
	quit *signal

	mu      sync.Mutex // protects what follows
	written []*written
	done    int           // answered with success
	refused int           // answered 503
	lost    int           // not answered
	slowest time.Duration // success
}

// written is one write, and its answer if there was one.
type written struct {
	write
	answered bool
	receipt  receipt
}

// start is what each user has before the load begins.
const start = 1_000_000_000

// load gives the users points and starts workers that hold, settle, refund and settle in part.
func (w *world) load(workers int, apis []*api, users, models []string) *load {
	w.Helper()
	l := &load{w: w, apis: apis, users: users, models: models, quit: newSignal()}
	for _, user := range users {
		wr := credit(user, start)
		l.written = append(l.written, &written{write: wr, answered: true, receipt: apis[0].do(wr).receipt})
	}
	for i := range workers {
		l.wg.Go(func() { l.work(i) })
	}
	w.Cleanup(l.stop)
	return l
}

// stop returns when the last worker has its answer. It may be called twice.
func (l *load) stop() {
	l.quit.give()
	l.wg.Wait()
}

func (l *load) work(worker int) {
	// The pause keeps the load from being all that the machine does, and writes without an answer from being most.
	const usual, afterFailure = 10 * time.Millisecond, 100 * time.Millisecond
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := worker; ; n++ {
		select {
		case <-l.quit.done:
			return
		case <-pause.C:
			pause.Reset(usual)
		}
		a := l.apis[n%len(l.apis)]
		amount := 2 + rand.Int64N(50)
		held, ok := l.send(a, hold(pick(l.users), amount))
		if !ok {
			pause.Reset(afterFailure)
			continue
		}
		switch rand.IntN(4) {
		case 0: // stays held
		case 1:
			l.send(a, settle(held.receipt.EscrowID, pick(l.models), amount))
		case 2:
			l.send(a, refund(held.receipt.EscrowID, amount))
		case 3:
			l.send(a, partial(held.receipt.EscrowID, pick(l.models), 1, amount-1))
		}
	}
}

func pick(from []string) string { return from[rand.IntN(len(from))] }

// send notes what became of the write. ok is false when it may or may not have been done.
func (l *load) send(a *api, wr write) (got answer, ok bool) {
	got, err := a.send(wr)
	l.mu.Lock()
	defer l.mu.Unlock()
	rec := &written{write: wr}
	l.written = append(l.written, rec)
	switch {
	case err != nil:
		l.lost++
		return got, false
	case got.done():
		l.done++
		l.slowest = max(l.slowest, got.took)
		rec.answered, rec.receipt = true, got.receipt
		return got, true
	case got.status == http.StatusServiceUnavailable && (got.code == "unavailable" || got.code == "overloaded"):
		l.refused++
		return got, false
	}
	l.w.Errorf("%s: status %d %s", wr.path, got.status, got.code)
	return got, false
}

// answers waits until that many more writes were done.
func (l *load) answers(n int) {
	l.w.Helper()
	done := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.done
	}
	before := done()
	l.w.eventually(fmt.Sprintf("%d more writes done", n), func() bool { return done() >= before+n })
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d writes done, the slowest in %s; %d refused, %d without an answer", l.done, l.slowest.Round(time.Millisecond), l.refused, l.lost)
}

// settle stops the load and repeats every write: what was answered is answered the same, what was not is done now or
// was done then. In the end each key has exactly one effect.
func (l *load) settle(a *api) {
	l.w.Helper()
	l.stop()
	queue := make(chan *written)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for rec := range queue {
				l.repeat(a, rec)
			}
		})
	}
	for _, rec := range l.written {
		queue <- rec
	}
	close(queue)
	wg.Wait()
	ids := map[string]bool{}
	for _, rec := range l.written {
		ids[rec.receipt.TransactionID] = true
	}
	if n := l.w.count(`SELECT count(*) FROM transactions`); len(ids) != len(l.written) || n != int64(len(l.written)) {
		l.w.Errorf("%d keys have %d receipts and %d transactions in the ledger", len(l.written), len(ids), n)
	}
	l.w.Log(l)
}

func (l *load) repeat(a *api, rec *written) {
	got, err := a.send(rec.write)
	switch {
	case err != nil || !got.done():
		l.w.Errorf("repeat of %s: status %d %s, %v", rec.path, got.status, got.code, err)
	case !rec.answered:
		rec.receipt = got.receipt
	case !got.replayed || got.receipt.TransactionID != rec.receipt.TransactionID || got.receipt.Timestamp != rec.receipt.Timestamp:
		l.w.Errorf("repeat of %s: %+v (replayed: %t), the first answer was %+v", rec.path, got.receipt, got.replayed, rec.receipt)
	}
}

// accounts are all that the load writes to.
func (l *load) accounts() []string { return append(append([]string{}, l.users...), l.models...) }

// allAgree wants the ledger, the streams, the balance hashes and the accounts' clients to say the same of each account, and the
// ledger's entries to sum to zero.
func (w *world) allAgree(a *api, stream *consumer, accounts []string, clients ...*client) {
	w.Helper()
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	stream.drain()
	for _, account := range accounts {
		history, b := a.history(account), a.balance(account)
		if b.Seq != int64(len(history)) {
			w.Errorf("balance of %s is at %d, its history at %d", account, b.Seq, len(history))
		}
		stream.agrees(account, history)
		w.hashIs(b)
		for _, c := range clients {
			if slices.Contains(c.accounts, account) {
				c.agrees(account, history, b)
			}
		}
	}
	stream.twins()
	if n := w.count(`SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY transaction_id HAVING sum(amount) <> 0) AS uneven`); n != 0 {
		w.Errorf("the entries of %d transactions do not sum to zero", n)
	}
	if n := w.count(`SELECT count(*) FROM wallets w WHERE w.available + w.escrow + w.earned <>
		(SELECT coalesce(sum(e.amount), 0) FROM entries e WHERE e.account = w.account)`); n != 0 {
		w.Errorf("%d balances are not the sum of their entries", n)
	}
}

// forget leaves only the first write with that key.
func (l *load) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := false
	l.written = slices.DeleteFunc(l.written, func(rec *written) bool {
		again := rec.key == key && seen
		seen = seen || rec.key == key
		return again
	})
}
