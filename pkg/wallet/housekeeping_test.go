package wallet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// runLedger opens the ledger and runs it until the test ends.
func runLedger(t *testing.T, url string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// change runs a statement behind the ledger's back.
func change(t *testing.T, l *Ledger, statement string, args ...any) {
	t.Helper()
	if _, err := l.store.sharedQueries().db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// holds makes a user's holds, which expire after a second.
func holds(t *testing.T, l *Ledger, user Account, n int) []uuid.UUID {
	t.Helper()
	ops := []Op{creditOf(user, int64(n)*10, "credit")}
	for i := range n {
		ops = append(ops, Op{
			Operation: OpHold, Account: user, Amount: 10, Reason: "r", QueueItemID: "q", FeatureType: "f",
			ExpiresIn: time.Second, IdempotencyKey: fmt.Sprint("hold", i),
		})
	}
	ids := make([]uuid.UUID, 0, n)
	for _, r := range l.DoBatch(t.Context(), ops) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if r.Receipt.EscrowID != uuid.Nil {
			ids = append(ids, r.Receipt.EscrowID)
		}
	}
	return ids
}

// Many escrows are due at once, and one of them is damaged: it is named, and the others end.
func TestExpiryGoesOnPastWhatFails(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		ids := holds(t, l, "user:a", 250) // more than are asked for at a time
		change(t, l, `DELETE FROM escrows WHERE id = $1`, ids[0])
		later := time.Now().Add(2 * time.Second)
		if err := l.refundExpired(t.Context(), later); !errors.Is(err, ErrEscrowNotFound) || !strings.Contains(err.Error(), ids[0].String()) {
			t.Errorf("%v does not name escrow %s", err, ids[0])
		}
		for _, id := range ids[1:] {
			if e, err := l.Escrow(t.Context(), id); err != nil || e.Status != StatusRefunded {
				t.Fatalf("escrow %+v, %v", e, err)
			}
		}
		if b, err := l.Balance(t.Context(), "user:a"); err != nil || b.Available != 2490 || b.Escrow != 10 {
			t.Errorf("%+v, %v", b, err)
		}
		if due, err := l.store.listDueEscrows(t.Context(), later, dueEscrow{}, 10); err != nil || len(due) != 1 {
			t.Errorf("%+v are left, %v", due, err)
		}
	})
}

// A core whose clock was a year ahead left its time in an account, whose history does not go back;
// what it holds from then on expires when it was asked to, all the same.
func TestExpiryGoesByTheClock(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		if _, err := l.Do(t.Context(), creditOf("user:a", 20, "c")); err != nil {
			t.Fatal(err)
		}
		ahead := time.Now().AddDate(1, 0, 0).Truncate(time.Millisecond).UTC()
		change(t, l, `UPDATE wallets SET updated_at = $1`, l.store.sharedQueries().timeValue(ahead))
		l = runLedger(t, url) // its cache does not have the account
		start := time.Now().Truncate(time.Millisecond)
		op := Op{Operation: OpHold, Account: "user:a", Amount: 10, Reason: "r", QueueItemID: "q", FeatureType: "f", ExpiresIn: time.Hour, IdempotencyKey: "h"}
		r, err := l.Do(t.Context(), op)
		if err != nil || !r.Timestamp.Equal(ahead) {
			t.Fatalf("%+v, %v", r, err)
		}
		e, err := l.Escrow(t.Context(), r.EscrowID)
		if err != nil || !e.CreatedAt.Equal(ahead) || e.ExpiresAt.Before(start.Add(time.Hour)) || e.ExpiresAt.After(time.Now().Add(time.Hour)) {
			t.Errorf("%+v, %v, want it to expire in an hour", e, err)
		}
		if again, err := l.Do(t.Context(), op); err != nil || !again.Replayed || again.EscrowID != r.EscrowID {
			t.Errorf("asked again: %+v, %v", again, err)
		}
		if err := l.refundExpired(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if e, err = l.Escrow(t.Context(), r.EscrowID); err != nil || e.Status != StatusRefunded || e.ClosedAt.Before(ahead) {
			t.Errorf("an hour later: %+v, %v", e, err)
		}
	})
}

// Two cores refund what is due while others settle it: each escrow has one end, and each caller
// knows which.
func TestExpiryRacesSettlements(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		cores := []*Ledger{runLedger(t, url), runLedger(t, url)}
		const n = 40
		ids := holds(t, cores[0], "user:a", n)
		later := time.Now().Add(2 * time.Second)
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i, id := range ids {
			wg.Go(func() {
				_, errs[i] = cores[i%2].Do(t.Context(), Op{
					Operation: OpSettle, EscrowID: id, Model: "model:m", Amount: 10, Reason: "r", QueueItemID: "q", IdempotencyKey: id.String(),
				})
			})
		}
		for _, l := range cores {
			wg.Go(func() {
				if err := l.refundExpired(t.Context(), later); err != nil {
					t.Errorf("expire: %v", err)
				}
			})
		}
		wg.Wait()
		var settled int64
		for i, id := range ids {
			e, err := cores[0].Escrow(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			var ended *EscrowProcessedError
			switch {
			case errs[i] == nil && e.Status == StatusSettled:
				settled++
			case errors.As(errs[i], &ended) && ended.Status == StatusRefunded && e.Status == StatusRefunded:
			default:
				t.Errorf("the settlement's answer is %v, the escrow is %s", errs[i], e.Status)
			}
		}
		if b, err := cores[1].Balance(t.Context(), "user:a"); err != nil || b.Escrow != 0 || b.Available != 10*(n-settled) {
			t.Errorf("%d were settled, %+v, %v", settled, b, err)
		}
		if r, err := cores[0].Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Keys are kept for a day; then they go, however many, and may name something new.
func TestOldKeysAreRemoved(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		ops := make([]Op, 2500)
		for i := range ops {
			ops[i] = creditOf("user:a", 1, fmt.Sprint(i))
		}
		for _, r := range l.DoBatch(t.Context(), ops) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		now := time.Now()
		old, young := l.store.sharedQueries().timeValue(now.Add(-24*time.Hour-time.Minute)), l.store.sharedQueries().timeValue(now.Add(-24*time.Hour+time.Minute))
		change(t, l, `UPDATE idempotency_keys SET created_at = $1`, old)
		change(t, l, `UPDATE idempotency_keys SET created_at = $1 WHERE key IN ('1', '2499')`, young)
		if err := l.removeOldKeys(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		for key, kept := range map[string]bool{"0": false, "1": true, "2498": false, "2499": true} {
			if r, err := l.Do(t.Context(), creditOf("user:a", 1, key)); err != nil || r.Replayed != kept {
				t.Errorf("key %s: %+v, %v, want a repeat: %v", key, r, err, kept)
			}
		}
		var n int
		if err := l.store.sharedQueries().db.GetContext(t.Context(), &n, `SELECT count(*) FROM idempotency_keys`); err != nil || n != 4 {
			t.Errorf("%d keys are kept, %v", n, err)
		}
	})
}

// A core whose clock is a day ahead takes a key of this minute for an old one; the database's clock
// knows better.
func TestKeysOutliveAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url) // nothing is removed by itself
		for _, r := range commitBatch(t, l, creditOf("user:a", 1, "old"), creditOf("user:a", 1, "young"), creditOf("user:a", 1, "new")) {
			if r.err != nil {
				t.Fatal(r.err)
			}
		}
		now := time.Now()
		for key, age := range map[string]time.Duration{"old": 24*time.Hour + time.Minute, "young": 24*time.Hour - time.Minute} {
			change(t, l, `UPDATE idempotency_keys SET created_at = $1 WHERE key = $2`, l.store.sharedQueries().timeValue(now.Add(-age)), key)
		}
		for _, c := range []struct {
			now  time.Time
			kept []string
		}{
			{now.Add(-time.Hour), []string{"new", "old", "young"}}, // a clock that is behind removes less
			{now.Add(25 * time.Hour), []string{"new", "young"}},
		} {
			if err := l.removeOldKeys(t.Context(), c.now); err != nil {
				t.Fatal(err)
			}
			var kept []string
			if err := l.store.sharedQueries().db.SelectContext(t.Context(), &kept, `SELECT key FROM idempotency_keys ORDER BY key`); err != nil || !slices.Equal(kept, c.kept) {
				t.Errorf("at %v: %q are kept, %v, want %q", c.now.Sub(now), kept, err, c.kept)
			}
		}
	})
}

// Who removes keys waits for a row, for as long as it takes; operations do not wait with it.
func TestRemovingKeysHoldsUpNobody(t *testing.T) {
	t.Parallel()
	url := postgresDatabase(t)
	_, idle := openFaulty(t, url)
	if r := commitBatch(t, idle, creditOf("user:a", 1, "old"))[0]; r.err != nil {
		t.Fatal(r.err)
	}
	change(t, idle, `UPDATE idempotency_keys SET created_at = $1`, time.Now().AddDate(0, 0, -2))
	db := idle.store.sharedQueries().db
	tx, err := db.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT 1 FROM idempotency_keys FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	l := runLedger(t, url)
	removed := make(chan error, 1)
	go func() { removed <- l.removeOldKeys(t.Context(), time.Now()) }()
	untilLockWait(t, db.GetContext)
	if _, err := l.Do(t.Context(), creditOf("user:a", 1, "new")); err != nil {
		t.Errorf("while keys are removed: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
}
