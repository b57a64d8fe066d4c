package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// startPoints is what each account gets before the faults begin.
const startPoints = 20_000

// load does random operations with several workers until it is stopped.
type load struct {
	w        *world
	token    string
	users    []string
	models   []string
	lossy    bool          // a restored backup loses answered operations
	restored time.Duration // when the last backup was restored, since the start of the episode
	stopping chan struct{}
	workers  sync.WaitGroup

	mu           sync.Mutex // protects the fields below
	calls        []*call    // all that were sent
	reads        []*read    // from cores
	gatewayReads []*read
	escrows      []*escrow // open, as far as is known
	repeats      int       // repeated requests that were compared

	seen *seenBalances
}

// read is one balance that a core answered.
type read struct {
	account string
	source  string
	began   time.Duration
	ended   time.Duration
	balance balance
}

func newLoad(w *world, users, models int, lossy bool) *load {
	l := &load{w: w, lossy: lossy, stopping: make(chan struct{}), seen: newSeenBalances()}
	for i := range users {
		l.users = append(l.users, fmt.Sprintf("user:u%d", i))
	}
	for i := range models {
		l.models = append(l.models, fmt.Sprintf("model:m%d", i))
	}
	l.token = w.signToken("chaos", time.Hour, append(l.accounts(), probeAccounts...),
		auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead)
	return l
}

func (l *load) accounts() []string { return append(l.users[:len(l.users):len(l.users)], l.models...) }

// createAccounts gives each account its first points.
func (l *load) createAccounts() {
	r := rand.New(rand.NewPCG(1, 1))
	for i, account := range l.accounts() {
		l.resolve(&call{operation: opCredit, key: fmt.Sprint("first-", i), account: account, amount: startPoints}, r)
	}
}

// start starts the workers.
func (l *load) start(seed uint64, workers int) {
	for i := range workers {
		wk := &worker{load: l, id: i, rand: rand.New(rand.NewPCG(seed, uint64(i)+1))}
		l.workers.Go(wk.run)
	}
}

// stop ends the workers. They resolve the calls that have no definite answer yet.
func (l *load) stop() {
	close(l.stopping)
	l.workers.Wait()
}

func (l *load) isStopping() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

func (l *load) since() time.Duration { return time.Since(l.w.journal.start) }

// resolve sends the call until its answer is definite.
func (l *load) resolve(c *call, r *rand.Rand) {
	c.began = l.since()
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.mu.Unlock()
	l.attempt(c.String(), r, func(address string, limit time.Duration) bool {
		got := l.w.post(address, c.path(), l.token, c.key, c.body(), limit)
		return l.accept(c, got)
	})
	c.ended = l.since()
	l.keepEscrow(c)
}

// resolveBatch sends the calls in one request until all of their answers are definite.
func (l *load) resolveBatch(calls []*call, r *rand.Rand) {
	var items []object
	began := l.since()
	for _, c := range calls {
		c.began = began
		items = append(items, c.item())
	}
	l.mu.Lock()
	l.calls = append(l.calls, calls...)
	l.mu.Unlock()
	l.attempt(fmt.Sprintf("batch of %d with %s", len(calls), calls[0]), r, func(address string, limit time.Duration) bool {
		got := l.w.post(address, "/v1/batch", l.token, "", object{"operations": items}, limit)
		return l.acceptBatch(calls, got)
	})
	for _, c := range calls {
		c.ended = l.since()
		l.keepEscrow(c)
	}
}

// attempt calls send with a core in turn until it returns true. A part of the attempts is abandoned
// after a moment, as by a client whose user has gone.
func (l *load) attempt(name string, r *rand.Rand, send func(address string, limit time.Duration) bool) {
	first := r.IntN(len(l.w.cores))
	isHasty := r.IntN(20) == 0
	var stoppingSince time.Time
	for n := 0; ; n++ {
		limit := 5 * time.Second
		if isHasty && n == 0 {
			limit = 5 * time.Millisecond
		}
		core := l.w.cores[(first+n)%len(l.w.cores)]
		if send(core.public, limit) {
			return
		}
		if l.isStopping() && stoppingSince.IsZero() {
			stoppingSince = time.Now()
		}
		if !stoppingSince.IsZero() && time.Since(stoppingSince) > patience {
			l.w.journal.violate("no definite answer within %s after the faults were healed: %s", patience, name)
			return
		}
		if l.w.journal.isBroken() {
			return
		}
		pause(50 * time.Millisecond)
	}
}

// pause waits for a time that nothing signals: until a server may have recovered.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// accept takes the answer to a single call. It returns true if it is definite.
func (l *load) accept(c *call, got answer) bool {
	switch {
	case got.isDone():
		err := json.Unmarshal(got.raw, &c.receipt)
		if err != nil {
			l.w.journal.violate("the answer of %s must be a receipt: %v in %.300s", c, err, got.raw)
		}
		c.done = true
		c.raw = got.raw
		return true
	case got.isRefusal():
		c.code = got.problemCode()
		return true
	case got.status == 0:
		c.abandoned = true
		return false
	case got.status == http.StatusServiceUnavailable && got.problemCode() == "overloaded",
		got.status == http.StatusTooManyRequests:
		return false // nothing was done
	case got.status == http.StatusServiceUnavailable && got.problemCode() == "unavailable":
		c.abandoned = true
		return false
	}
	c.abandoned = true
	l.w.journal.violate("%s: got the answer %d %.300s", c, got.status, got.raw)
	return false
}

// acceptBatch takes the answer to a batch. It returns true if all results are definite.
func (l *load) acceptBatch(calls []*call, got answer) bool {
	var body struct {
		Results []struct {
			Status  int             `json:"status"`
			Receipt json.RawMessage `json:"receipt"`
			Problem json.RawMessage `json:"problem"`
		} `json:"results"`
	}
	if got.isDone() {
		err := json.Unmarshal(got.raw, &body)
		if err != nil || len(body.Results) != len(calls) {
			l.w.journal.violate("a batch of %d: got the answer %.300s", len(calls), got.raw)
			return true
		}
	}
	isDefinite := true
	for i, c := range calls {
		if c.done || c.code != "" {
			continue // an earlier attempt had this answer
		}
		single := answer{status: got.status, raw: got.raw}
		if got.isDone() {
			single.status = body.Results[i].Status
			single.raw = body.Results[i].Receipt
			if len(single.raw) == 0 {
				single.raw = body.Results[i].Problem
			}
		}
		if !l.accept(c, single) {
			isDefinite = false
		}
	}
	return isDefinite
}

// keepEscrow keeps the escrow of a hold, so that workers can close it.
func (l *load) keepEscrow(c *call) {
	if c.operation != opHold || !c.done {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.escrows = append(l.escrows, &escrow{id: c.receipt.EscrowID, user: c.account, amount: c.amount, expires: c.expires})
}

// takeEscrow returns an escrow to close. Sometimes it leaves it to another worker as well, so that two
// close it at the same time.
func (l *load) takeEscrow(r *rand.Rand) *escrow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.escrows) == 0 {
		return nil
	}
	i := r.IntN(len(l.escrows))
	e := l.escrows[i]
	if r.IntN(4) > 0 {
		last := len(l.escrows) - 1
		l.escrows[i] = l.escrows[last]
		l.escrows = l.escrows[:last]
	}
	return e
}

// repeat sends a call that was done before. It must get the same answer.
func (l *load) repeat(c *call, r *rand.Rand) {
	l.attempt("repeat of "+c.String(), r, func(address string, limit time.Duration) bool {
		got := l.w.post(address, c.path(), l.token, c.key, c.body(), limit)
		if got.status == 0 || got.status == http.StatusServiceUnavailable {
			return false
		}
		isSame := got.isDone() && got.replayed && bytes.Equal(got.raw, c.raw)
		if !isSame && !l.lossy {
			l.w.journal.violate("repeat of %s: got %d (replayed: %t) %s\nwant %s", c, got.status, got.replayed, got.raw, c.raw)
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.repeats++
}

// reuse sends another request with the key of a call that was done before. It must be refused.
func (l *load) reuse(c *call, r *rand.Rand) {
	other := c.body()
	other["amount"] = c.amount + 1
	l.attempt("reuse of "+c.key, r, func(address string, limit time.Duration) bool {
		got := l.w.post(address, c.path(), l.token, c.key, other, limit)
		if got.status == 0 || got.status == http.StatusServiceUnavailable {
			return false
		}
		if got.problemCode() != "idempotency_key_reused" {
			l.w.journal.violate("another request with the key of %s: got %d %.300s", c, got.status, got.raw)
		}
		return true
	})
}

// readCore reads a balance from a core.
func (l *load) readCore(account string, core *program) {
	got := &read{account: account, source: core.name, began: l.since()}
	status, body := l.w.get("http://"+core.public+"/v1/accounts/"+account+"/balance", l.token, 5*time.Second)
	got.ended = l.since()
	if !l.decodeBalance(got, status, body) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, got)
}

func (l *load) decodeBalance(got *read, status int, body []byte) bool {
	switch {
	case status == 0 || status == http.StatusServiceUnavailable:
		return false
	case status == http.StatusNotFound && l.lossy:
		return false
	case status != http.StatusOK:
		l.w.journal.violate("balance of %s at %s: got %d %.300s", got.account, got.source, status, body)
		return false
	}
	err := json.Unmarshal(body, &got.balance)
	if err != nil {
		l.w.journal.violate("balance of %s at %s: %v in %.300s", got.account, got.source, err, body)
		return false
	}
	return true
}

// credit credits an account at one core, without a proxy, and returns the seq. It is for probes.
func (l *load) credit(ctx context.Context, core *program, account, key string) (seq int64, ok bool) {
	limit := 3 * time.Second
	deadline, found := ctx.Deadline()
	if found {
		limit = min(limit, time.Until(deadline))
	}
	c := &call{operation: opCredit, key: key, account: account, amount: 1}
	got := l.w.post(core.http, c.path(), l.token, c.key, c.body(), limit)
	if !got.isDone() {
		return 0, false
	}
	err := json.Unmarshal(got.raw, &c.receipt)
	b, hasBalance := c.receipt.find(account)
	return b.Seq, err == nil && hasBalance
}
