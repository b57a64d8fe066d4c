package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/client"
)

// startPoints is what each account gets before the faults begin.
const startPoints = 20_000

// load does random operations with several workers until it is stopped.
type load struct {
	w        *world
	token    string
	ctx      context.Context // of all calls; ends if calls take too long after the faults
	cancel   context.CancelFunc
	ledger   *client.Ledger              // tries the cores in turn until the answer is definite
	hasty    *client.Ledger              // makes one attempt and waits for a moment only
	once     map[*program]*client.Ledger // make one attempt
	direct   map[*program]*client.Ledger // make one attempt without a proxy
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
	balance client.Balance
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
	l.ctx, l.cancel = context.WithCancel(context.Background())
	w.Cleanup(l.cancel)
	l.connect()
	return l
}

// connect makes the clients of the programs.
func (l *load) connect() {
	w := l.w
	anyCore := &http.Client{Transport: &turnTransport{next: w.http.Transport, programs: w.cores, journal: w.journal}}
	l.ledger = w.newLedger("http://any-core", l.token, client.LedgerConfig{HTTPClient: anyCore, AttemptTimeout: 5 * time.Second, RetryFor: time.Hour})
	l.hasty = w.newLedger("http://any-core", l.token, client.LedgerConfig{HTTPClient: anyCore, AttemptTimeout: 5 * time.Millisecond, RetryFor: -1})
	l.once = map[*program]*client.Ledger{}
	l.direct = map[*program]*client.Ledger{}
	for _, p := range w.programs() {
		l.once[p] = w.newLedger("http://"+p.public, l.token, client.LedgerConfig{HTTPClient: w.http, AttemptTimeout: 5 * time.Second, RetryFor: -1})
		l.direct[p] = w.newLedger("http://"+p.http, l.token, client.LedgerConfig{HTTPClient: w.http, AttemptTimeout: 3 * time.Second, RetryFor: -1})
	}
}

func (w *world) newLedger(url, token string, cfg client.LedgerConfig) *client.Ledger {
	w.Helper()
	cfg.Token = client.StaticToken(token)
	ledger, err := client.NewLedger(url, cfg)
	if err != nil {
		w.Fatal(err)
	}
	return ledger
}

// turnTransport sends each attempt to another program, as a load balancer does.
type turnTransport struct {
	next     http.RoundTripper
	programs []*program
	journal  *journal
	turn     atomic.Uint64
}

func (t *turnTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	n := t.turn.Add(1) % uint64(len(t.programs))
	r = r.Clone(r.Context())
	r.URL.Host = t.programs[n].public
	r.Host = r.URL.Host
	response, err := t.next.RoundTrip(r)
	if err == nil && response.StatusCode >= 500 && response.StatusCode != http.StatusServiceUnavailable {
		t.journal.violate("%s %s at %s: got status %d", r.Method, r.URL.Path, t.programs[n].name, response.StatusCode)
	}
	return response, err
}

func (l *load) accounts() []string { return append(l.users[:len(l.users):len(l.users)], l.models...) }

// createAccounts gives each account its first points.
func (l *load) createAccounts() {
	r := rand.New(rand.NewPCG(1, 1))
	for i, account := range l.accounts() {
		l.resolve(&call{operation: client.OperationCredit, key: fmt.Sprint("first-", i), account: account, amount: startPoints}, r)
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
	limit := time.AfterFunc(patience, l.cancel)
	defer limit.Stop()
	if l.w.journal.isBroken() {
		l.cancel()
	}
	l.workers.Wait()
}

func (l *load) since() time.Duration { return time.Since(l.w.journal.start) }

// resolve sends the call until its answer is definite.
func (l *load) resolve(c *call, r *rand.Rand) {
	c.began = l.since()
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.mu.Unlock()
	if l.isHasty(r) {
		_, err := l.hasty.Do(l.ctx, c.request())
		c.abandoned = mayBeDone(err)
	}
	receipt, err := l.ledger.Do(l.ctx, c.request())
	l.accept(c, receipt, err)
	c.ended = l.since()
	l.keepEscrow(c)
}

// isHasty chooses the calls that are abandoned after a moment at first, as by a client whose user has
// gone.
func (l *load) isHasty(r *rand.Rand) bool { return r.IntN(20) == 0 }

// mayBeDone reports whether an operation may have been done although its call has failed.
func mayBeDone(err error) bool {
	var missing *client.NoAnswerError
	if errors.As(err, &missing) {
		return missing.MayBeDone
	}
	var problem *client.Problem
	return errors.As(err, &problem) && problem.MayBeDone
}

// resolveBatch sends the calls in one request until all of their answers are definite.
func (l *load) resolveBatch(calls []*call, r *rand.Rand) {
	var operations []client.Operation
	began := l.since()
	for _, c := range calls {
		c.began = began
		operations = append(operations, c.request())
	}
	l.mu.Lock()
	l.calls = append(l.calls, calls...)
	l.mu.Unlock()
	if l.isHasty(r) {
		results, err := l.hasty.Batch(l.ctx, operations)
		for i, c := range calls {
			c.abandoned = mayBeDone(err) || mayBeDone(results[i].Err())
		}
	}
	results, err := l.ledger.Batch(l.ctx, operations)
	for i, c := range calls {
		if results[i].Receipt != nil {
			l.accept(c, *results[i].Receipt, nil)
		} else {
			l.accept(c, client.Receipt{}, cmp.Or(err, results[i].Err()))
		}
		c.ended = l.since()
		l.keepEscrow(c)
	}
}

// pause waits for a time that nothing signals: until a server may have recovered.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// refusals are the statuses with which a core decides that an operation is not possible.
var refusals = []int{
	http.StatusBadRequest, http.StatusPaymentRequired, http.StatusNotFound,
	http.StatusConflict, http.StatusUnprocessableEntity,
}

// accept takes the outcome of a call.
func (l *load) accept(c *call, receipt client.Receipt, err error) {
	c.abandoned = c.abandoned || mayBeDone(err)
	var problem *client.Problem
	switch {
	case err == nil:
		c.done = true
		c.receipt = receipt
	case hasNoAnswer(err):
		l.reportNoAnswer(c.String(), err)
	case errors.As(err, &problem) && slices.Contains(refusals, problem.Status):
		c.code = string(problem.Code)
	default:
		l.w.journal.violate("%s: got %v", c, err)
	}
}

func hasNoAnswer(err error) bool {
	var missing *client.NoAnswerError
	return errors.As(err, &missing)
}

func (l *load) reportNoAnswer(name string, err error) {
	if !l.w.journal.isBroken() {
		l.w.journal.violate("no definite answer within %s after the faults were healed: %s: %v", patience, name, err)
	}
}

// keepEscrow keeps the escrow of a hold, so that workers can close it.
func (l *load) keepEscrow(c *call) {
	if c.operation != client.OperationHold || !c.done {
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
func (l *load) repeat(c *call) {
	got, err := l.ledger.Do(l.ctx, c.request())
	if hasNoAnswer(err) {
		l.reportNoAnswer("repeat of "+c.String(), err)
		return
	}
	want := c.receipt
	want.Replayed = true
	isSame := err == nil && reflect.DeepEqual(got, want)
	if !isSame && !l.lossy {
		l.w.journal.violate("repeat of %s: got %+v, error %v, want %+v", c, got, err, want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.repeats++
}

// reuse sends another request with the key of a credit that was done before. It must be refused.
func (l *load) reuse(c *call) {
	other := *c
	other.amount++
	_, err := l.ledger.Do(l.ctx, other.request())
	switch {
	case hasNoAnswer(err):
		l.reportNoAnswer("reuse of "+c.key, err)
	case !errors.Is(err, client.ErrIdempotencyKeyReused):
		l.w.journal.violate("another request with the key of %s: got %v", c, err)
	}
}

// readCore reads a balance from a core.
func (l *load) readCore(account string, core *program) {
	got, ok := l.readBalance(account, core)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, got)
}

// readBalance reads a balance from a core or a gateway, in one attempt. ok is false if there was no
// answer.
func (l *load) readBalance(account string, p *program) (got *read, ok bool) {
	got = &read{account: account, source: p.name, began: l.since()}
	balance, err := l.once[p].Balance(l.ctx, account)
	got.ended = l.since()
	got.balance = balance
	switch {
	case err == nil:
		return got, true
	case hasNoAnswer(err):
	case errors.Is(err, client.ErrAccountNotFound) && l.lossy:
	default:
		l.w.journal.violate("balance of %s at %s: %v", account, p.name, err)
	}
	return nil, false
}

// credit credits an account at one core in one attempt, without a proxy, and returns the seq. It is
// for probes.
func (l *load) credit(ctx context.Context, core *program, account, key string) (seq int64, ok bool) {
	c := call{operation: client.OperationCredit, key: key, account: account, amount: 1}
	receipt, err := l.direct[core].Do(ctx, c.request())
	b, hasBalance := receipt.BalanceOf(account)
	return b.Seq, err == nil && hasBalance
}
