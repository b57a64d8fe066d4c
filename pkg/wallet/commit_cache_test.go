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

// TestBatchesAreLockedWhenNeeded has another core write between two batches. A batch is committed
// with locks only after a conflict, a refusal or a repeat.
func TestBatchesAreLockedWhenNeeded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		_, other := openFaulty(t, url)
		optimistic := l.store.optimisticWrites()
		expect := func(what string, want ...bool) {
			t.Helper()
			if !slices.Equal(f.tries, want) {
				t.Errorf("%s: locked tries %v, want %v", what, f.tries, want)
			}
			f.tries = nil
		}
		do := func(l *Ledger, op Op) Receipt {
			t.Helper()
			r := commitBatch(t, l, op)[0]
			if r.err != nil {
				t.Errorf("%s: %v", op.IdempotencyKey, r.err)
			}
			return r.receipt
		}
		do(l, creditOf("user:a", 10, "1"))
		do(l, creditOf("user:a", 10, "2"))
		expect("nobody else writes", false, false)

		do(other, creditOf("user:a", 100, "3"))
		if r := do(l, creditOf("user:a", 10, "4")); r.Balances[0].Available != 130 || r.Balances[0].Seq != 4 {
			t.Errorf("after another core's work: %+v", r.Balances)
		}
		if optimistic {
			expect("another core wrote", false, true)
			if f.committer.skipCacheFor == 0 {
				t.Error("it still uses the cache")
			}
		} else {
			expect("another core wrote", false)
		}
		do(other, creditOf("user:a", 1, "5"))
		do(l, creditOf("user:a", 1, "6"))
		expect("it reads now", false)

		f.committer.skipCacheFor = 0
		do(l, creditOf("user:a", 1, "6b"))
		do(other, creditOf("user:a", 1000, "7"))
		f.tries = nil
		hold := Op{Operation: OpHold, Account: "user:a", Amount: 1100, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "8"}
		held := do(l, hold)
		if optimistic {
			expect("a refusal that another core made wrong", false, true)
		} else {
			expect("a hold", false)
		}
		if f.committer.lockedFor != 0 {
			t.Error("after a refusal later batches are locked")
		}

		if again := do(l, hold); !again.Replayed || again.EscrowID != held.EscrowID {
			t.Errorf("the repeat is %+v", again)
		}
		expect("a repeat", false, true)
		if f.committer.lockedFor == 0 {
			t.Error("after a repeat the next batches are not locked")
		}
		f.committer.lockedFor = 0

		// Another core ends the escrow that this one has cached.
		end := Op{Operation: OpRefund, EscrowID: held.EscrowID, Amount: 1100, Reason: "r", QueueItemID: "q", IdempotencyKey: "9"}
		do(other, end)
		end.IdempotencyKey = "10"
		var ended *EscrowProcessedError
		if r := commitBatch(t, l, end)[0]; !errors.As(r.err, &ended) {
			t.Errorf("the second end of an escrow: %+v, %v", r.receipt, r.err)
		}
		if r, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestWriteComparesTheNewestRow has a write wait for another core's row lock. It compares the hash
// with the row that the other core leaves, not with the row of its snapshot.
func TestWriteComparesTheNewestRow(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		if !l.store.optimisticWrites() {
			return // it has one writer at a time
		}
		commitBatch(t, l, creditOf("user:a", 10, "1"))
		f.tries = nil
		db := f.sharedQueries().db
		tx, err := db.Beginx()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		hash := bytes.Repeat([]byte{7}, 32)
		if _, err := tx.ExecContext(t.Context(), "UPDATE wallets SET hash = $1, available = 99 WHERE account = 'user:a'", hash); err != nil {
			t.Fatal(err)
		}
		var results []result
		var waits sync.WaitGroup
		t.Cleanup(waits.Wait) // before the ledger is closed, and after the transaction's end if the test fails
		waits.Go(func() { results = commitBatch(t, l, creditOf("user:a", 1, "2")) })
		untilLockWait(t, db.GetContext)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if waits.Wait(); t.Failed() {
			return
		}
		r := results[0]
		if r.err != nil || r.receipt.Balances[0].Available != 100 || !slices.Equal(f.tries, []bool{false, true}) {
			t.Errorf("%+v, %v after locked tries %v", r.receipt, r.err, f.tries)
		}
	})
}

// untilLockWait waits for a session that waits for a lock.
func untilLockWait(t *testing.T, get func(ctx context.Context, dest any, query string, args ...any) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 0; n == 0; {
		if err := get(ctx, &n, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"); err != nil {
			t.Errorf("nobody waits for the lock: %v", err)
			return
		}
	}
}

// TestLockedBatchesNeedOneConnection: if a locked batch needed a second connection, a full pool
// would wait for itself.
func TestLockedBatchesNeedOneConnection(t *testing.T) {
	l, err := Open(t.Context(), postgresDatabase(t), Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := makeFaulty(l)
	for _, op := range []Op{
		creditOf("user:a", 10, "1"), creditOf("user:a", 10, "2"),
		{Operation: OpHold, Account: "user:a", Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "3"},
	} {
		f.committer.lockedFor = 2
		if r := commitBatch(t, l, op)[0]; r.err != nil {
			t.Errorf("%s: %v", op.IdempotencyKey, r.err)
		}
	}
	if slices.Contains(f.tries, false) || len(f.tries) != 3 {
		t.Errorf("locked tries %v", f.tries)
	}
}

func TestCommitCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c commitCache
	put := func(from, to int) {
		m := &mutations{}
		for i := from; i < to; i++ {
			m.wallets = append(m.wallets, &wallet{Account: Account(fmt.Sprint("user:", i)), Seq: int64(i)})
			m.opened = append(m.opened, &Escrow{ID: uuid.UUID{byte(i >> 16), byte(i >> 8), byte(i)}, User: "user:e", Status: StatusHeld})
		}
		c.storeBatch(m)
	}
	for i := range 10 {
		put(i*cacheLimit/4, (i+1)*cacheLimit/4)
		put(0, 1) // stays, since it is used
	}
	if n := len(c.wallets.young) + len(c.wallets.old); n > cacheLimit {
		t.Errorf("%d wallets are cached", n)
	}
	if n := len(c.escrows.young) + len(c.escrows.old); n > cacheLimit {
		t.Errorf("%d escrows are cached", n)
	}
	if c.wallets.get("user:0") == nil || c.wallets.get(Account(fmt.Sprint("user:", 10*cacheLimit/4-1))) == nil || c.wallets.get("user:1") != nil {
		t.Error("the wrong ones are cached")
	}
	if c.escrowUser(uuid.UUID{}) != "user:e" || c.escrowUser(uuid.Max) != "" {
		t.Error("the escrow's user is not cached")
	}
}
