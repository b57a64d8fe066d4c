package wallet

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// faulty is a real store whose calls fail where a test says so.
type faulty struct {
	store
	mu    sync.Mutex
	fails []fault // one by one, each at its next chance
	tries int

	lookUps int                    // of a batcher that is made for it
	wrote   func(*mutations) error // hears of each batch before it is written; nil: nobody
}

type fault struct {
	at     string // begin, keys, escrows, wallets, write, commit before, commit after
	err    error
	poison Account // with at "write": fails each batch that touches the account, for ever
}

// arm replaces the faults that are to come.
func (f *faulty) arm(fails ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *faulty) take(at string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fails) > 0 && f.fails[0].at == at && f.fails[0].poison == "" {
		err := f.fails[0].err
		f.fails = f.fails[1:]
		return err
	}
	return nil
}

func (f *faulty) begin(ctx context.Context) (batchTx, error) {
	f.mu.Lock()
	f.tries++
	f.mu.Unlock()
	if err := f.take("begin"); err != nil {
		return nil, err
	}
	tx, err := f.store.begin(ctx)
	return &faultyTx{tx, f}, err
}

type faultyTx struct {
	batchTx
	f *faulty
}

func (t *faultyTx) keys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	if err := t.f.take("keys"); err != nil {
		return nil, err
	}
	return t.batchTx.keys(ctx, refs)
}

func (t *faultyTx) lockEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	if err := t.f.take("escrows"); err != nil {
		return nil, err
	}
	return t.batchTx.lockEscrows(ctx, ids)
}

func (t *faultyTx) lockWallets(ctx context.Context, a []Account) ([]wallet, error) {
	if err := t.f.take("wallets"); err != nil {
		return nil, err
	}
	return t.batchTx.lockWallets(ctx, a)
}

func (t *faultyTx) write(ctx context.Context, m *mutations) ([]int64, error) {
	t.f.mu.Lock()
	fails := t.f.fails
	t.f.mu.Unlock()
	for _, fault := range fails {
		for _, w := range m.wallets {
			if fault.poison == w.Account && fault.at == "write" {
				return nil, fault.err
			}
		}
	}
	if t.f.wrote != nil {
		if err := t.f.wrote(m); err != nil {
			return nil, err
		}
	}
	ids, err := t.batchTx.write(ctx, m)
	if f := t.f.take("write"); f != nil {
		return nil, f
	}
	return ids, err
}

func (t *faultyTx) commit() error {
	if err := t.f.take("commit before"); err != nil {
		return err
	}
	err := t.batchTx.commit()
	if f := t.f.take("commit after"); f != nil {
		return f
	}
	return err
}

// openFaulty opens a SQLite ledger whose batches are run by hand.
func openFaulty(t *testing.T, fails ...fault) (*faulty, *Ledger) {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
	if _, err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := &faulty{store: l.store, fails: fails}
	l.store = f
	return f, l
}

// commitBatch commits the operations as one batch and returns their results.
func commitBatch(t *testing.T, l *Ledger, ops ...Op) []result {
	t.Helper()
	batch := make([]*request, len(ops))
	for i, op := range ops {
		if err := op.Check(); err != nil {
			t.Fatal(err)
		}
		batch[i] = &request{ctx: t.Context(), op: op, hash: requestHash(&op), done: make(chan result, 1)}
	}
	b := &batcher{store: l.store, cfg: l.cfg, metrics: l.metrics, mine: map[uuid.UUID]*request{}, lookUps: l.store.(*faulty).lookUps}
	b.process(batch)
	out := make([]result, len(ops))
	for i, r := range batch {
		out[i] = <-r.done
	}
	return out
}

func creditOf(a Account, amount int64, key string) Op {
	return Op{Operation: OpCredit, Account: a, Amount: amount, Reason: "admin_credit", IdempotencyKey: key}
}

func TestFailuresLeaveOneEffect(t *testing.T) {
	for _, at := range []string{"begin", "keys", "wallets", "write", "commit before", "commit after"} {
		for name, cause := range map[string]error{
			"connection lost": driver.ErrBadConn, "deadlock": &pq.Error{Code: "40P01"}, "lost race": errConflict,
		} {
			t.Run(at+", "+name, func(t *testing.T) {
				f, l := openFaulty(t, fault{at: at, err: cause})
				if at == "keys" {
					f.lookUps = 2
				}
				follower := creditOf("user:a", 5, "k1")
				rs := commitBatch(t, l, creditOf("user:a", 5, "k1"), creditOf("user:b", 7, "k2"), follower)
				if f.tries != 2 {
					t.Errorf("%d tries", f.tries)
				}
				for i, r := range rs {
					if r.err != nil || r.receipt.Replayed != (i == 2) {
						t.Errorf("operation %d: %+v, %v", i, r.receipt, r.err)
					}
				}
				a, err := l.Balance(t.Context(), "user:a")
				if err != nil || a.Available != 5 || a.Seq != 1 {
					t.Errorf("balance %+v, %v", a, err)
				}
				pending, err := l.Pending(t.Context(), 0, 10)
				if err != nil || len(pending) != 2 {
					t.Errorf("%d rows in the outbox, %v", len(pending), err)
				}
			})
		}
	}
}

// TestFailuresWhileAnEscrowEnds does the same to an operation that locks escrows.
func TestFailuresWhileAnEscrowEnds(t *testing.T) {
	for _, at := range []string{"begin", "escrows", "wallets", "write", "commit before", "commit after"} {
		t.Run(at, func(t *testing.T) {
			f, l := openFaulty(t)
			hold := Op{Operation: OpHold, Account: "user:a", Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "h"}
			held := commitBatch(t, l, creditOf("user:a", 5, "c"), hold)[1].receipt
			f.arm(fault{at: at, err: driver.ErrBadConn})
			settle := Op{Operation: OpSettle, EscrowID: held.EscrowID, Model: "model:m", Amount: 5, Reason: "r", QueueItemID: "q", IdempotencyKey: "s"}
			if r := commitBatch(t, l, settle)[0]; r.err != nil || r.receipt.Replayed {
				t.Errorf("%+v, %v", r.receipt, r.err)
			}
			if len(f.fails) != 0 {
				t.Error("nothing failed")
			}
			m, err := l.Balance(t.Context(), "model:m")
			if err != nil || m.Earned != 5 || m.Seq != 2 {
				t.Errorf("balance %+v, %v", m, err)
			}
		})
	}
}

func TestPoisonStandsAlone(t *testing.T) {
	broken := errors.New("value out of range")
	for _, err := range []error{broken, errConflict} {
		_, l := openFaulty(t, fault{at: "write", poison: "user:3", err: err})
		ops := make([]Op, 8)
		for i := range ops {
			ops[i] = creditOf(Account(fmt.Sprint("user:", i)), 1, fmt.Sprint(i))
		}
		for i, r := range commitBatch(t, l, ops...) {
			if i == 3 {
				if r.err == nil {
					t.Errorf("%v: the poison was committed", err)
				}
			} else if r.err != nil {
				t.Errorf("%v: neighbour %d failed: %v", err, i, r.err)
			}
		}
	}
}

func TestDatabaseAway(t *testing.T) {
	fails := make([]fault, 1000)
	for i := range fails {
		fails[i] = fault{at: "begin", err: driver.ErrBadConn}
	}
	_, l := openFaulty(t, fails...)
	if r := commitBatch(t, l, creditOf("user:a", 1, "k"))[0]; !errors.Is(r.err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", r.err)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	_, l := openFaulty(t)
	l.queue = make(chan *request, 1) // and nobody reads it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	first := &request{ctx: ctx, op: creditOf("user:a", 1, "k1"), done: make(chan result, 1)}
	if err := l.enqueue(first); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := l.Do(t.Context(), creditOf("user:a", 1, "k2"))
		done <- err
	}()
	if err := <-done; !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
	// A caller that goes away before its batch begins has done nothing.
	cancel()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	newLanes(l).run(stopped)
	if r := <-first.done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("cancelled request: %+v", r)
	}
	if _, err := l.Balance(t.Context(), "user:a"); !errors.Is(err, ErrAccountNotFound) {
		t.Errorf("the account exists: %v", err)
	}
}

func TestRunFinishesWhatIsQueued(t *testing.T) {
	_, l := openFaulty(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &request{ctx: t.Context(), op: creditOf("user:a", 1, "k"), done: make(chan result, 1)}
	if err := l.enqueue(r); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if res := <-r.done; res.err != nil {
		t.Errorf("queued operation: %v", res.err)
	}
	if _, err := l.Do(t.Context(), creditOf("user:a", 1, "k2")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
}

func migrateForTest(ctx context.Context, url string) error {
	_, err := Migrate(ctx, url)
	return err
}

func TestErrorsDoNotShowThePassword(t *testing.T) {
	for _, bad := range []string{
		"postgres://u:secret@h:x/d", "postgres://u:secret @h/d", "postgres://u:%zzsecret@h/d", "postgres://u:secret@127.0.0.1:1/d?sslmode=disable",
		"postgres://u:secret@127.0.0.1:1/d?sslmode=none", "mysql://u:secret@h/d",
	} {
		_, open := Open(t.Context(), bad, Config{})
		_, list := Migrations(t.Context(), bad)
		for _, err := range []error{open, list, migrateForTest(t.Context(), bad)} {
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
}
