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

	"github.com/redroomrewards/realtime/internal/testenv"
)

// faulty is a real store whose calls fail where a test says so.
type faulty struct {
	store
	mu    sync.Mutex
	fails []fault // one by one, each at its next chance
	tries []bool  // whether they were locked

	committer *committer
	wrote     func(*mutations) error // is called with each batch before it is written; may be nil
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

func (f *faulty) nextFault(at string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fails) > 0 && f.fails[0].at == at && f.fails[0].poison == "" {
		err := f.fails[0].err
		f.fails = f.fails[1:]
		return err
	}
	return nil
}

func (f *faulty) beginBatch(ctx context.Context, locked bool) (batchTx, error) {
	f.mu.Lock()
	f.tries = append(f.tries, locked)
	f.mu.Unlock()
	if err := f.nextFault("begin"); err != nil {
		return nil, err
	}
	tx, err := f.store.beginBatch(ctx, locked)
	return &faultyTx{tx, f}, err
}

type faultyTx struct {
	batchTx
	f *faulty
}

func (t *faultyTx) readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	if err := t.f.nextFault("keys"); err != nil {
		return nil, err
	}
	return t.batchTx.readKeys(ctx, refs)
}

func (t *faultyTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	if err := t.f.nextFault("escrows"); err != nil {
		return nil, err
	}
	return t.batchTx.readEscrows(ctx, ids)
}

func (t *faultyTx) readWallets(ctx context.Context, a []Account) ([]wallet, error) {
	if err := t.f.nextFault("wallets"); err != nil {
		return nil, err
	}
	return t.batchTx.readWallets(ctx, a)
}

func (t *faultyTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
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
	ids, err := t.batchTx.writeBatch(ctx, m)
	if f := t.f.nextFault("write"); f != nil {
		return nil, f
	}
	return ids, err
}

func (t *faultyTx) commit() error {
	if err := t.f.nextFault("commit before"); err != nil {
		return err
	}
	err := t.batchTx.commit()
	if f := t.f.nextFault("commit after"); f != nil {
		return f
	}
	return err
}

// eachDatabase runs a test on both kinds of database, empty and migrated.
func eachDatabase(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("postgres", func(t *testing.T) { f(t, postgresDatabase(t)) })
	t.Run("sqlite", func(t *testing.T) { f(t, sqliteDatabase(t)) })
}

func postgresDatabase(t *testing.T) string {
	return testenv.Postgres(t, testenv.Schema{Version: testenv.HashFS(t, migrations), Migrate: migrateForTest})
}

func sqliteDatabase(t *testing.T) string {
	url := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
	if err := migrateForTest(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

// openFaulty opens a ledger whose batches are run by hand.
func openFaulty(t *testing.T, url string, fails ...fault) (*faulty, *Ledger) {
	t.Helper()
	l, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return makeFaulty(l, fails...), l
}

func makeFaulty(l *Ledger, fails ...fault) *faulty {
	f := &faulty{store: l.store, fails: fails}
	l.store = f
	f.committer = newScheduler(l).free[0]
	return f
}

// commitBatch commits the operations as one batch and returns their results.
func commitBatch(t *testing.T, l *Ledger, ops ...Op) []result {
	t.Helper()
	batch := make([]*request, len(ops))
	for i, op := range ops {
		if err := op.Validate(); err != nil {
			t.Fatal(err)
		}
		batch[i] = newValidatedRequest(t.Context(), &op)
	}
	l.store.(*faulty).committer.commitBatch(batch)
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
	eachDatabase(t, testFailuresLeaveOneEffect)
}

func testFailuresLeaveOneEffect(t *testing.T, url string) {
	for _, at := range []string{"begin", "keys", "wallets", "write", "commit before", "commit after"} {
		for name, cause := range map[string]error{
			"connection lost": driver.ErrBadConn, "deadlock": &pq.Error{Code: "40P01"}, "lost race": errConflict,
		} {
			t.Run(at+", "+name, func(t *testing.T) {
				f, l := openFaulty(t, url, fault{at: at, err: cause})
				if at == "keys" {
					f.committer.lockedFor = 2
				}
				unique := strings.NewReplacer(" ", "-", ",", "").Replace(at + name)
				user, k1, k2 := Account("user:"+unique), unique+"1", unique+"2"
				pending := func() int {
					rows, err := l.Pending(t.Context(), 0, 100)
					if err != nil {
						t.Fatal(err)
					}
					return len(rows)
				}
				before := pending()
				rs := commitBatch(t, l, creditOf(user, 5, k1), creditOf(user+"b", 7, k2), creditOf(user, 5, k1))
				if len(f.tries) != 2 || len(f.fails) != 0 {
					t.Errorf("%d tries", len(f.tries))
				}
				for i, r := range rs {
					if r.err != nil || r.receipt.Replayed != (i == 2) {
						t.Errorf("operation %d: %+v, %v", i, r.receipt, r.err)
					}
				}
				a, err := l.Balance(t.Context(), user)
				if err != nil || a.Available != 5 || a.Seq != 1 {
					t.Errorf("balance %+v, %v", a, err)
				}
				if n := pending() - before; n != 2 {
					t.Errorf("%d rows in the outbox", n)
				}
			})
		}
	}
}

// TestFailuresWhileAnEscrowEnds does the same to an operation that locks escrows.
func TestFailuresWhileAnEscrowEnds(t *testing.T) {
	eachDatabase(t, testFailuresWhileAnEscrowEnds)
}

func testFailuresWhileAnEscrowEnds(t *testing.T, url string) {
	for _, at := range []string{"begin", "escrows", "wallets", "write", "commit before", "commit after"} {
		t.Run(at, func(t *testing.T) {
			f, l := openFaulty(t, url)
			unique := strings.ReplaceAll(at, " ", "-")
			user, model := Account("user:"+unique), Account("model:"+unique)
			hold := Op{Operation: OpHold, Account: user, Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: unique}
			held := commitBatch(t, l, creditOf(user, 5, unique), hold)[1].receipt
			if at == "escrows" && f.committer.cache != nil {
				f.committer.cache = &commitCache{} // otherwise nothing is read
			}
			f.arm(fault{at: at, err: driver.ErrBadConn})
			settle := Op{Operation: OpSettle, EscrowID: held.EscrowID, Model: model, Amount: 5, Reason: "r", QueueItemID: "q", IdempotencyKey: unique}
			if r := commitBatch(t, l, settle)[0]; r.err != nil || r.receipt.Replayed {
				t.Errorf("%+v, %v", r.receipt, r.err)
			}
			if len(f.fails) != 0 {
				t.Error("nothing failed")
			}
			m, err := l.Balance(t.Context(), model)
			if err != nil || m.Earned != 5 || m.Seq != 2 {
				t.Errorf("balance %+v, %v", m, err)
			}
		})
	}
}

// TestHalvesKnowWhatTheirBatchDid: a half whose operations its batch has already committed answers
// with receipts that are not flagged as repeats.
func TestHalvesKnowWhatTheirBatchDid(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url, fault{at: "commit after", err: errors.New("no answer that a retry mends")})
		for i, r := range commitBatch(t, l, creditOf("user:a", 5, "k1"), creditOf("user:b", 7, "k2")) {
			if r.err != nil || r.receipt.Replayed {
				t.Errorf("operation %d: %+v, %v", i, r.receipt, r.err)
			}
		}
		if len(f.fails) != 0 {
			t.Error("nothing failed")
		}
	})
}

func TestPoisonStandsAlone(t *testing.T) {
	broken := errors.New("value out of range")
	for _, err := range []error{broken, errConflict} {
		_, l := openFaulty(t, sqliteDatabase(t), fault{at: "write", poison: "user:3", err: err})
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
	_, l := openFaulty(t, sqliteDatabase(t), fails...)
	if r := commitBatch(t, l, creditOf("user:a", 1, "k"))[0]; !errors.Is(r.err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", r.err)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	_, l := openFaulty(t, sqliteDatabase(t))
	l.queue = make(chan *request, 1) // and nobody reads it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	first := &request{ctx: ctx, op: creditOf("user:a", 1, "k1"), done: make(chan result, 1)}
	if err := l.enqueueRequest(first); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := l.Do(t.Context(), creditOf("user:a", 1, "k2"))
		done <- err
	}()
	if err := <-done; !errors.Is(err, ErrOverloaded) {
		t.Errorf("%v, want ErrOverloaded", err)
	}
	// The operation of a caller that disconnects before its batch begins is not done.
	cancel()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	newScheduler(l).run(stopped)
	if r := <-first.done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("cancelled request: %+v", r)
	}
	if _, err := l.Balance(t.Context(), "user:a"); !errors.Is(err, ErrAccountNotFound) {
		t.Errorf("the account exists: %v", err)
	}
}

func TestRunFinishesWhatIsQueued(t *testing.T) {
	_, l := openFaulty(t, sqliteDatabase(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &request{ctx: t.Context(), op: creditOf("user:a", 1, "k"), done: make(chan result, 1)}
	if err := l.enqueueRequest(r); err != nil {
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
