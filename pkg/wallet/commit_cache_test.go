package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// twoCores are two cores on one database. The test looks at the batches of the first one.
type twoCores struct {
	store *faultyStore
	core  *Ledger
	other *Ledger
	// optimistic is false for a database that has one writer at a time. Its batches do not conflict.
	optimistic bool
}

func openTwoCores(t *testing.T, url string) *twoCores {
	t.Helper()
	store, core := openFaulty(t, url)
	_, other := openFaulty(t, url)
	return &twoCores{store: store, core: core, other: other, optimistic: core.store.optimisticWrites()}
}

// checkTries compares the tries of the first core since the last call: whether each was locked.
func (c *twoCores) checkTries(t *testing.T, name string, want ...bool) {
	t.Helper()
	if !slices.Equal(c.store.lockedTries, want) {
		t.Errorf("%s: got locked tries %v, want %v", name, c.store.lockedTries, want)
	}
	c.store.lockedTries = nil
}

// checkConflict wants a first try without locks, and a second one with locks if batches can
// conflict.
func (c *twoCores) checkConflict(t *testing.T, name string) {
	t.Helper()
	if c.optimistic {
		c.checkTries(t, name, false, true)
	} else {
		c.checkTries(t, name, false)
	}
}

func TestBatchesWithoutConflictTakeNoLocks(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		c := openTwoCores(t, url)
		mustCommit(t, c.core, newCredit("user:a", 10, "1"))
		mustCommit(t, c.core, newCredit("user:a", 10, "2"))
		c.checkTries(t, "two batches", false, false)
	})
}

// TestConflictIsRetriedWithLocks has the other core write between two batches.
func TestConflictIsRetriedWithLocks(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		c := openTwoCores(t, url)
		mustCommit(t, c.core, newCredit("user:a", 20, "1"))
		c.store.lockedTries = nil
		mustCommit(t, c.other, newCredit("user:a", 100, "2"))
		balance := mustCommit(t, c.core, newCredit("user:a", 10, "3"))[0].Balances[0]
		checkEqual(t, "available after the conflict", balance.Available, 130)
		checkEqual(t, "seq after the conflict", balance.Seq, 3)
		c.checkConflict(t, "batch after the other core's")
		if c.optimistic && c.store.committer.skipCacheFor == 0 {
			t.Error("the core still uses its cache after the conflict")
		}

		// Without the cache there is no conflict.
		mustCommit(t, c.other, newCredit("user:a", 1, "4"))
		mustCommit(t, c.core, newCredit("user:a", 1, "5"))
		c.checkTries(t, "batch that skips the cache", false)
		checkLedger(t, c.core)
	})
}

// TestRefusalByTheCacheIsTriedWithLocks has the cache say that an account has too few points, while
// another core has credited them.
func TestRefusalByTheCacheIsTriedWithLocks(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		c := openTwoCores(t, url)
		mustCommit(t, c.core, newCredit("user:a", 100, "1"))
		mustCommit(t, c.other, newCredit("user:a", 1000, "2"))
		c.store.lockedTries = nil
		mustCommit(t, c.core, newHold("user:a", 1100, "3"))
		c.checkConflict(t, "hold")
		checkEqual(t, "batches to lock after a refusal", c.store.committer.lockedFor, 0)
		checkLedger(t, c.core)
	})
}

func TestRetriesLockTheNextBatches(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		c := openTwoCores(t, url)
		hold := newHold("user:a", 10, "2")
		held := mustCommit(t, c.core, newCredit("user:a", 10, "1"), hold)[1]
		c.store.lockedTries = nil
		again := mustCommit(t, c.core, hold)[0]
		checkEqual(t, "retry is replayed", again.Replayed, true)
		checkEqual(t, "escrow of the retry", again.EscrowID, held.EscrowID)
		c.checkTries(t, "retry", false, true)
		if c.store.committer.lockedFor == 0 {
			t.Error("the next batches are not locked after a retry")
		}
		checkLedger(t, c.core)
	})
}

// TestEscrowClosedByAnotherCoreIsClosed has another core close an escrow that the core has cached.
func TestEscrowClosedByAnotherCoreIsClosed(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		c := openTwoCores(t, url)
		held := mustCommit(t, c.core, newCredit("user:a", 10, "1"), newHold("user:a", 10, "2"))[1]
		mustCommit(t, c.other, newRefund(held.EscrowID, 10, "3"))
		var processed *EscrowProcessedError
		r := commitBatch(t, c.core, newRefund(held.EscrowID, 10, "4"))[0]
		if !errors.As(r.err, &processed) {
			t.Errorf("second refund: got error %v, want an EscrowProcessedError", r.err)
		}
		checkLedger(t, c.core)
	})
}

// TestWriteComparesTheNewestRow has a write wait for the row lock of another core. Then it compares
// the hash with the row that the other core has committed, not with the row of its own snapshot.
func TestWriteComparesTheNewestRow(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		if !l.store.optimisticWrites() {
			return // this database has one writer at a time
		}
		mustCommit(t, l, newCredit("user:a", 10, "1"))
		f.lockedTries = nil
		db := f.sharedQueries().db
		tx, err := db.Beginx()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		otherHash := bytes.Repeat([]byte{7}, 32)
		_, err = tx.ExecContext(t.Context(), "UPDATE wallets SET hash = $1, available = 99 WHERE account = 'user:a'", otherHash)
		if err != nil {
			t.Fatal(err)
		}

		var r result
		var writer sync.WaitGroup
		t.Cleanup(writer.Wait) // before the ledger is closed, and after the rollback if the test fails
		writer.Go(func() { r = commitBatch(t, l, newCredit("user:a", 1, "2"))[0] })
		waitForLockedSession(t, db.GetContext)
		err = tx.Commit()
		if err != nil {
			t.Fatal(err)
		}
		writer.Wait()
		if t.Failed() {
			return
		}
		checkError(t, "credit", r.err, nil)
		checkEqual(t, "available", r.receipt.Balances[0].Available, 100)
		if want := []bool{false, true}; !slices.Equal(f.lockedTries, want) {
			t.Errorf("got locked tries %v, want %v", f.lockedTries, want)
		}
	})
}

// waitForLockedSession returns when a session of the database waits for a lock.
func waitForLockedSession(t *testing.T, get func(ctx context.Context, dest any, query string, args ...any) error) {
	t.Helper()
	const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for n := 0; n == 0; {
		err := get(ctx, &n, query)
		if err != nil {
			t.Errorf("no session waits for a lock: %v", err)
			return
		}
	}
}

// TestLockedBatchesNeedOneConnection has a pool of one connection. A locked batch that needed a
// second one would wait for itself.
func TestLockedBatchesNeedOneConnection(t *testing.T) {
	l := openLedger(t, newPostgresDatabase(t), Config{MaxConns: 1})
	t.Cleanup(func() { _ = l.Close() })
	f := makeFaulty(l)
	for _, op := range []Op{newCredit("user:a", 10, "1"), newCredit("user:a", 10, "2"), newHold("user:a", 5, "3")} {
		f.committer.lockedFor = 2
		mustCommit(t, l, op)
	}
	if want := []bool{true, true, true}; !slices.Equal(f.lockedTries, want) {
		t.Errorf("got locked tries %v, want %v", f.lockedTries, want)
	}
}

// fillCommitCache stores wallets and escrows with the numbers from first up to, but without, end.
func fillCommitCache(c *commitCache, first, end int) {
	m := &mutations{}
	for i := first; i < end; i++ {
		m.wallets = append(m.wallets, &wallet{Account: Account(fmt.Sprint("user:", i)), Seq: int64(i)})
		m.opened = append(m.opened, &Escrow{ID: numberedID(i), User: "user:e", Status: StatusHeld})
	}
	c.storeBatch(m, 0)
}

func numberedID(i int) uuid.UUID {
	return uuid.UUID{byte(i >> 16), byte(i >> 8), byte(i)}
}

func TestCommitCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c commitCache
	for i := range 10 {
		fillCommitCache(&c, i*cacheLimit/4, (i+1)*cacheLimit/4)
	}
	if n := len(c.wallets.young) + len(c.wallets.old); n > cacheLimit {
		t.Errorf("cached wallets: got %d, want at most %d", n, cacheLimit)
	}
	if n := len(c.escrows.young) + len(c.escrows.old); n > cacheLimit {
		t.Errorf("cached escrows: got %d, want at most %d", n, cacheLimit)
	}
}

func TestCommitCacheKeepsRecentlyUsedEntries(t *testing.T) {
	t.Parallel()
	var c commitCache
	for i := range 10 {
		fillCommitCache(&c, i*cacheLimit/4, (i+1)*cacheLimit/4)
		fillCommitCache(&c, 0, 1)
	}
	newest := Account(fmt.Sprint("user:", 10*cacheLimit/4-1))
	for a, want := range map[Account]bool{"user:0": true, newest: true, "user:1": false} {
		checkEqual(t, fmt.Sprint(a, " is cached"), c.wallets.get(a) != nil, want)
	}
	checkEqual(t, "user of a cached escrow", c.escrowUser(numberedID(0)), "user:e")
	checkEqual(t, "user of an unknown escrow", c.escrowUser(uuid.Max), "")
}
