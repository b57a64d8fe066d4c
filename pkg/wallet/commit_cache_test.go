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

// A batch locks and looks up only after something went wrong, and remembers whose
// accounts it knows; here another core writes in between.
func TestBatchesAreCarefulWhenNeeded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		_, other := openFaulty(t, url)
		checks := l.store.checks()
		expect := func(what string, want ...bool) {
			t.Helper()
			if !slices.Equal(f.tries, want) {
				t.Errorf("%s: careful tries %v, want %v", what, f.tries, want)
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
		if checks {
			expect("another core wrote", false, true)
			if f.batcher.reading == 0 {
				t.Error("it still believes what it remembers")
			}
		} else {
			expect("another core wrote", false)
		}
		do(other, creditOf("user:a", 1, "5"))
		do(l, creditOf("user:a", 1, "6"))
		expect("it reads now", false)

		f.batcher.reading = 0
		do(l, creditOf("user:a", 1, "6b"))
		do(other, creditOf("user:a", 1000, "7"))
		f.tries = nil
		hold := Op{Operation: OpHold, Account: "user:a", Amount: 1100, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "8"}
		held := do(l, hold)
		if checks {
			expect("a refusal that another core made wrong", false, true)
		} else {
			expect("a hold", false)
		}
		if f.batcher.careful != 0 {
			t.Error("a refusal makes later batches careful")
		}

		if again := do(l, hold); !again.Replayed || again.EscrowID != held.EscrowID {
			t.Errorf("the repeat is %+v", again)
		}
		expect("a repeat", false, true)
		if f.batcher.careful == 0 {
			t.Error("a repeat does not make the next batches careful")
		}
		f.batcher.careful = 0

		// Another core ends the escrow that this one remembers.
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

// A write that waits for another core's row compares the hash with what that core left, not with what its snapshot had.
func TestWriteComparesTheNewestRow(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		if !l.store.checks() {
			return // it has one writer at a time
		}
		commitBatch(t, l, creditOf("user:a", 10, "1"))
		f.tries = nil
		db := f.queries().db
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
			t.Errorf("%+v, %v after careful tries %v", r.receipt, r.err, f.tries)
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

// A careful batch has its connection; if its statement wanted another one, cores would wait for themselves.
func TestCarefulBatchesNeedOneConnection(t *testing.T) {
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
		f.batcher.careful = 2
		if r := commitBatch(t, l, op)[0]; r.err != nil {
			t.Errorf("%s: %v", op.IdempotencyKey, r.err)
		}
	}
	if slices.Contains(f.tries, false) || len(f.tries) != 3 {
		t.Errorf("careful tries %v", f.tries)
	}
}

func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	var r recent
	put := func(from, to int) {
		m := &mutations{}
		for i := from; i < to; i++ {
			m.wallets = append(m.wallets, &wallet{Account: Account(fmt.Sprint("user:", i)), Seq: int64(i)})
			m.opened = append(m.opened, &Escrow{ID: uuid.UUID{byte(i >> 16), byte(i >> 8), byte(i)}, User: "user:e", Status: StatusHeld})
		}
		r.store(m)
	}
	for i := range 10 {
		put(i*recentLimit/4, (i+1)*recentLimit/4)
		put(0, 1) // stays, since it is used
	}
	if n := len(r.wallets.young) + len(r.wallets.old); n > recentLimit {
		t.Errorf("%d wallets are remembered", n)
	}
	if n := len(r.escrows.young) + len(r.escrows.old); n > recentLimit {
		t.Errorf("%d escrows are remembered", n)
	}
	if r.wallets.get("user:0") == nil || r.wallets.get(Account(fmt.Sprint("user:", 10*recentLimit/4-1))) == nil || r.wallets.get("user:1") != nil {
		t.Error("the wrong ones are remembered")
	}
	if r.user(uuid.UUID{}) != "user:e" || r.user(uuid.Max) != "" {
		t.Error("the escrow's user is not remembered")
	}
}
