package wallet

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lib/pq"
)

// TestFailedCommitsAreRetriedWithOneEffect fails the first try of a batch at each place, also after
// the commit.
func TestFailedCommitsAreRetriedWithOneEffect(t *testing.T) {
	causes := map[string]error{
		"connection lost": driver.ErrBadConn,
		"deadlock":        &pq.Error{Code: "40P01"},
		"conflict":        errConflict,
	}
	forEachDatabase(t, func(t *testing.T, url string) {
		for _, at := range []string{"begin", "keys", "wallets", "write", "commit before", "commit after"} {
			for name, cause := range causes {
				t.Run(at+", "+name, func(t *testing.T) {
					key := strings.NewReplacer(" ", "-", ",", "").Replace(at + name)
					testFailedCommit(t, url, key, fault{at: at, err: cause})
				})
			}
		}
	})
}

// testFailedCommit commits two credits and a retry of the first one in a batch that fails once.
func testFailedCommit(t *testing.T, url, key string, first fault) {
	f, l := openFaulty(t, url, first)
	if first.at == "keys" {
		f.committer.lockedFor = 2 // only a locked batch reads keys
	}
	user := Account("user:" + key)
	before := countPending(t, l)
	results := commitBatch(t, l, newCredit(user, 5, key+"1"), newCredit(user+"b", 7, key+"2"), newCredit(user, 5, key+"1"))
	checkEqual(t, "tries", len(f.lockedTries), 2)
	checkEqual(t, "faults that did not happen", len(f.faults), 0)
	for i, r := range results {
		checkError(t, fmt.Sprint("operation ", i), r.err, nil)
		checkEqual(t, fmt.Sprint("operation ", i, " is replayed"), r.receipt.Replayed, i == 2)
	}
	checkBalance(t, l, user, Balance{Available: 5, Seq: 1})
	checkEqual(t, "new rows in the outbox", countPending(t, l)-before, 2)
}

func countPending(t *testing.T, l *Ledger) int {
	t.Helper()
	rows, err := l.Pending(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

// TestFailedSettlementsAreRetriedWithOneEffect does the same to an operation that locks an escrow.
func TestFailedSettlementsAreRetriedWithOneEffect(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		for _, at := range []string{"begin", "escrows", "wallets", "write", "commit before", "commit after"} {
			t.Run(at, func(t *testing.T) {
				f, l := openFaulty(t, url)
				key := strings.ReplaceAll(at, " ", "-")
				user := Account("user:" + key)
				model := Account("model:" + key)
				held := mustCommit(t, l, newCredit(user, 5, key), newHold(user, 5, key))[1]
				if at == "escrows" && f.committer.cache != nil {
					f.committer.cache = &commitCache{} // a cached escrow would not be read
				}

				f.setFaults(fault{at: at, err: driver.ErrBadConn})
				settled := mustCommit(t, l, newSettle(held.EscrowID, model, 5, key))[0]
				checkEqual(t, "settlement is replayed", settled.Replayed, false)
				checkEqual(t, "faults that did not happen", len(f.faults), 0)
				checkBalance(t, l, model, Balance{Earned: 5, Seq: 2})
			})
		}
	})
}

// TestSplitBatchKnowsItsOwnCommit has a batch that was committed, but whose commit returned an
// error that is not retried. The batch is split. Its halves find their operations committed, and
// their receipts are not replays.
func TestSplitBatchKnowsItsOwnCommit(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url, fault{at: "commit after", err: errors.New("an error that is not retried")})
		for i, r := range mustCommit(t, l, newCredit("user:a", 5, "k1"), newCredit("user:b", 7, "k2")) {
			checkEqual(t, fmt.Sprint("operation ", i, " is replayed"), r.Replayed, false)
		}
		checkEqual(t, "faults that did not happen", len(f.faults), 0)
	})
}

func TestOneFailingOperationDoesNotFailItsBatch(t *testing.T) {
	for name, cause := range map[string]error{
		"out of range": errors.New("value out of range"),
		"conflict":     errConflict,
	} {
		t.Run(name, func(t *testing.T) {
			_, l := openFaulty(t, newSQLiteDatabase(t), fault{at: "write", poison: "user:3", err: cause})
			ops := make([]Op, 8)
			for i := range ops {
				ops[i] = newCredit(Account(fmt.Sprint("user:", i)), 1, fmt.Sprint(i))
			}
			for i, r := range commitBatch(t, l, ops...) {
				if i != 3 {
					checkError(t, fmt.Sprint("operation ", i), r.err, nil)
				} else if r.err == nil {
					t.Error("operation 3: got no error, want one")
				}
			}
		})
	}
}

func TestUnreachableDatabaseIsErrUnavailable(t *testing.T) {
	faults := make([]fault, 1000)
	for i := range faults {
		faults[i] = fault{at: "begin", err: driver.ErrBadConn}
	}
	_, l := openFaulty(t, newSQLiteDatabase(t), faults...)
	r := commitBatch(t, l, newCredit("user:a", 1, "k"))[0]
	checkError(t, "credit", r.err, ErrUnavailable)
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	_, l := openFaulty(t, newSQLiteDatabase(t))
	l.queue = make(chan *request, 1) // no scheduler reads it
	first := &request{ctx: t.Context(), op: newCredit("user:a", 1, "k1"), done: make(chan result, 1)}
	err := l.enqueueRequest(first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Do(t.Context(), newCredit("user:a", 1, "k2"))
	checkError(t, "operation for which the queue has no room", err, ErrOverloaded)
}

func TestOperationOfADisconnectedCallerIsNotDone(t *testing.T) {
	_, l := openFaulty(t, newSQLiteDatabase(t))
	ctx, disconnect := context.WithCancel(t.Context())
	queued := &request{ctx: ctx, op: newCredit("user:a", 1, "k1"), done: make(chan result, 1)}
	err := l.enqueueRequest(queued)
	if err != nil {
		t.Fatal(err)
	}
	disconnect() // before the operation's batch begins

	stopped, stop := context.WithCancel(t.Context())
	stop()
	newScheduler(l).run(stopped)
	checkError(t, "queued operation", (<-queued.done).err, context.Canceled)
	_, err = l.Balance(t.Context(), "user:a")
	checkError(t, "balance of its account", err, ErrAccountNotFound)
}

func TestRunCommitsTheQueueBeforeItReturns(t *testing.T) {
	_, l := openFaulty(t, newSQLiteDatabase(t))
	queued := &request{ctx: t.Context(), op: newCredit("user:a", 1, "k"), done: make(chan result, 1)}
	err := l.enqueueRequest(queued)
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	err = l.Run(stopped)
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, "queued operation", (<-queued.done).err, nil)
	_, err = l.Do(t.Context(), newCredit("user:a", 1, "k2"))
	checkError(t, "operation after Run has returned", err, ErrUnavailable)
}

func TestErrorsDoNotShowThePassword(t *testing.T) {
	for name, url := range map[string]string{
		"invalid port":        "postgres://u:secret@h:x/d",
		"blank in the URL":    "postgres://u:secret @h/d",
		"invalid escape":      "postgres://u:%zzsecret@h/d",
		"no server":           "postgres://u:secret@127.0.0.1:1/d?sslmode=disable",
		"invalid parameter":   "postgres://u:secret@127.0.0.1:1/d?sslmode=none",
		"another kind of URL": "mysql://u:secret@h/d",
	} {
		t.Run(name, func(t *testing.T) {
			_, openErr := Open(t.Context(), url, Config{})
			_, listErr := Migrations(t.Context(), url)
			for call, err := range map[string]error{
				"open":    openErr,
				"list":    listErr,
				"migrate": migrateDatabase(t.Context(), url),
			} {
				if err == nil {
					t.Errorf("%s: got no error, want one", call)
				} else if strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: the error shows the password: %v", call, err)
				}
			}
		})
	}
}
