package wallet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestUnconfirmedCommitsAreNeitherAnsweredNorShown suspends the synchronous standby during two
// credits. The session of one is then terminated and that of the other is cancelled, so that both
// become visible.
func TestUnconfirmedCommitsAreNeitherAnsweredNorShown(t *testing.T) {
	t.Parallel()
	primary, standby := startReplicatedPostgres(t)
	l := runLedger(t, primary.URL("postgres"))
	shortenProofs(l)
	db := openTestDatabase(t, primary.URL("postgres"))
	mustDoBatch(t, l, []Op{newCredit("user:a", 100, "first-a"), newCredit("user:b", 100, "first-b"), newCredit("user:c", 100, "c")})
	mustDoBatch(t, l, []Op{newCredit("user:d", 100, "d")}) // confirms the credits before
	other := runLedger(t, primary.URL("postgres"))         // another core, which loses no write itself
	shortenProofs(other)
	mustDoBatch(t, other, []Op{newCredit("user:e", 100, "e")})

	standby.Suspend()
	first, second := newCredit("user:a", 5, "second-a"), newCredit("user:b", 7, "second-b")
	failed := make(chan error, 2)
	for _, op := range []Op{first, second} {
		go func() {
			_, err := l.Do(t.Context(), op)
			failed <- err
		}()
	}
	const isWaiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%user_account%'`
	waitForCondition(t, "a credit waits for the standby", func() bool { return countRowsOf(t, db, isWaiting) > 0 })
	mustExec(t, db, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%user_account%' LIMIT 1`)
	for range 2 {
		checkError(t, "credit without the standby", <-failed, ErrUnavailable)
	}
	mustExec(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%user_account%'`)
	const isVisible = `SELECT count(*) FROM wallets WHERE available > 100`
	waitForCondition(t, "a credit is visible without the standby", func() bool { return countRowsOf(t, db, isVisible) > 0 })

	for _, op := range []Op{first, second} {
		_, err := l.Do(t.Context(), op)
		checkError(t, "repeat without the standby", err, ErrUnavailable)
	}
	for _, account := range []Account{"user:a", "user:b"} {
		_, err := l.Balance(t.Context(), account)
		checkError(t, "balance of "+string(account), err, ErrUnavailable)
	}
	_, _, err := l.Events(t.Context(), "user:a", 0, 0)
	checkError(t, "events", err, ErrUnavailable)
	_, err = l.Pending(t.Context(), 0, 100)
	checkError(t, "pending", err, ErrUnavailable)
	_, err = l.UpdatesAfter(t.Context(), "user:a", 0, 100)
	checkError(t, "updates", err, ErrUnavailable)
	checkBalance(t, l, "user:c", Balance{Available: 100, Seq: 1})
	waitForPing(t, l, "synchronous standby")
	if waiting := countRowsOf(t, db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`); waiting > 3 {
		t.Errorf("sessions that wait for the standby: got %d, want at most 3", waiting)
	}

	visible := first
	if countRowsOf(t, db, isVisible+` AND account = 'user:a'`) == 0 {
		visible = second
	}
	_, err = other.Do(t.Context(), visible)
	checkError(t, "repeat at another core without the standby", err, ErrUnavailable)
	checkError(t, "its cause", err, errUnproven)
	_, err = other.Pending(t.Context(), 0, 100)
	checkError(t, "pending at another core", err, ErrUnavailable)

	standby.Continue()
	checkEqual(t, "repeat at another core is replayed", doWhenAvailable(t, other, visible).Replayed, true)
	for _, op := range []Op{first, second} {
		doWhenAvailable(t, l, op)
	}
	checkBalance(t, l, "user:a", Balance{Available: 105, Seq: 2})
	checkBalance(t, l, "user:b", Balance{Available: 107, Seq: 2})
	waitForPing(t, l, "")
	rows, err := l.Pending(t.Context(), 0, 100)
	checkError(t, "pending", err, nil)
	checkEqual(t, "pending rows", len(rows), 7)
	checkLedger(t, l)
}

// TestRestartedServerShowsNothingUnconfirmed restarts the server while a credit waits for the standby.
// Its recovery makes the credit visible.
func TestRestartedServerShowsNothingUnconfirmed(t *testing.T) {
	t.Parallel()
	primary, standby := startReplicatedPostgres(t)
	l := runLedger(t, primary.URL("postgres"))
	shortenProofs(l)
	mustDoBatch(t, l, []Op{newCredit("user:a", 100, "first")})
	standby.Suspend()
	credit := newCredit("user:a", 5, "second")
	_, err := l.Do(t.Context(), credit)
	checkError(t, "credit without the standby", err, ErrUnavailable)
	primary.Crash()
	primary.Start()
	db := openTestDatabase(t, primary.URL("postgres"))
	checkEqual(t, "visible credits", countRowsOf(t, db, `SELECT count(*) FROM wallets WHERE available = 105`), 1)

	_, err = l.Do(t.Context(), credit)
	checkError(t, "repeat without the standby", err, ErrUnavailable)
	_, err = l.Balance(t.Context(), "user:a")
	checkError(t, "balance", err, ErrUnavailable)
	_, err = l.Pending(t.Context(), 0, 100)
	checkError(t, "pending", err, ErrUnavailable)

	standby.Continue()
	receipt := doWhenAvailable(t, l, credit)
	checkEqual(t, "replayed", receipt.Replayed, true)
	checkBalance(t, l, "user:a", Balance{Available: 105, Seq: 2})
}

// TestDeletionsDoNotWaitForTheStandby deletes published rows and old keys without the standby.
func TestDeletionsDoNotWaitForTheStandby(t *testing.T) {
	t.Parallel()
	primary, standby := startReplicatedPostgres(t)
	l := runLedger(t, primary.URL("postgres"))
	mustDoBatch(t, l, []Op{newCredit("user:a", 100, "first")})
	rows, err := l.Pending(t.Context(), 0, 100)
	checkError(t, "pending", err, nil)
	standby.Suspend()
	defer standby.Continue()
	checkError(t, "published", l.Published(t.Context(), []int64{rows[0].ID}), nil)
	checkError(t, "remove old keys", l.removeOldKeys(t.Context(), time.Now()), nil)
}

// TestProofsAreShared begins proofs while one runs.
func TestProofsAreShared(t *testing.T) {
	release := make(chan struct{})
	commits := make(chan struct{}, 100)
	p := newProofs(func(context.Context) error {
		commits <- struct{}{}
		<-release
		return nil
	}, func() uint64 { return 1 })
	running := p.joinProof()
	next := p.joinProof()
	for range 20 {
		if p.joinProof() != next {
			t.Error("the proof is not shared")
		}
	}
	if running == next {
		t.Error("a proof that runs was joined; it may have begun too early")
	}
	close(release)
	<-running.done
	<-next.done
	p.close()
	checkEqual(t, "transactions", len(commits), 2)
	checkError(t, "proof after close", p.prove(t.Context(), 1), errUnproven)
}

// TestProofsOfAReplacedServerProveNothing replaces the server while a proof runs and before another.
func TestProofsOfAReplacedServerProveNothing(t *testing.T) {
	generation := uint64(1)
	p := newProofs(func(context.Context) error { generation++; return nil }, func() uint64 { return generation })
	p.enable()
	checkError(t, "proof that reached another server", p.proveVisible(t.Context(), 1, time.Now()), errUnproven)
	p.commitEmpty = func(context.Context) error { return nil }
	checkError(t, "rows of the former server", p.proveVisible(t.Context(), 1, time.Now()), errUnproven)
	checkError(t, "rows of the new server", p.proveVisible(t.Context(), 2, time.Now()), nil)
	p.close()
}

// startReplicatedPostgres starts a server with a migrated ledger and a synchronous standby.
func startReplicatedPostgres(t *testing.T) (primary, standby *testenv.PostgresServer) {
	t.Helper()
	primary = testenv.NewPostgresServer(t)
	checkError(t, "migrate", migrateDatabase(t.Context(), primary.URL("postgres")), nil)
	standby = primary.NewStandby(primary.Addr())
	primary.RequireStandby()
	return primary, standby
}

// shortenProofs shortens the times that a test would otherwise wait for.
func shortenProofs(l *Ledger) {
	p := l.store.durability()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clockSkew = 0
	p.timeout = time.Second
}

// countRowsOf returns the number that a query returns.
func countRowsOf(t *testing.T, db interface {
	GetContext(ctx context.Context, into any, query string, args ...any) error
}, query string) (n int) {
	t.Helper()
	err := db.GetContext(t.Context(), &n, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// doWhenAvailable does an operation until the database is available again.
func doWhenAvailable(t *testing.T, l *Ledger, op Op) (receipt Receipt) {
	t.Helper()
	waitForCondition(t, "the operation is done", func() bool {
		var err error
		receipt, err = l.Do(t.Context(), op)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	return receipt
}

// TestLostWriteEndsTheRunningProof begins a proof on a connection that is lost with a write.
func TestLostWriteEndsTheRunningProof(t *testing.T) {
	begun := make(chan struct{}, 2)
	p := newProofs(func(ctx context.Context) error {
		begun <- struct{}{}
		if len(begun) == 1 {
			<-ctx.Done()
		}
		return ctx.Err()
	}, func() uint64 { return 1 })
	lost := p.joinProof()
	waitForCondition(t, "the proof runs", func() bool { return len(begun) == 1 })
	next := p.joinProof()
	p.noteLostWrite()
	<-lost.done
	checkError(t, "running proof", lost.err, errUnproven)
	<-next.done
	checkError(t, "next proof", next.err, nil)
	p.close()
}

// TestLostProofsLeaveOneSession loses the connections of proofs while the standby is suspended.
func TestLostProofsLeaveOneSession(t *testing.T) {
	t.Parallel()
	primary, standby := startReplicatedPostgres(t)
	l := runLedger(t, primary.URL("postgres"))
	db := openTestDatabase(t, primary.URL("postgres"))
	standby.Suspend()
	p := l.store.durability()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'realtime-core-proofs%' AND wait_event = 'SyncRep'`
	for range 3 {
		proof := p.joinProof()
		waitForCondition(t, "the proof waits for the standby", func() bool { return countRowsOf(t, db, waiting) == 1 })
		p.noteLostWrite()
		<-proof.done
		checkError(t, "lost proof", proof.err, errUnproven)
		checkEqual(t, "waiting sessions", countRowsOf(t, db, waiting), 1)
	}
	standby.Continue()
	checkError(t, "proof with the standby", p.prove(t.Context(), l.Generation()), nil)
	waitForCondition(t, "no session waits", func() bool { return countRowsOf(t, db, waiting) == 0 })
}
