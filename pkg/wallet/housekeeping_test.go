package wallet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// makeHolds credits a user and makes n holds of 10 points that expire after a second. It returns
// the ids of their escrows.
func makeHolds(t *testing.T, l *Ledger, user Account, n int) []uuid.UUID {
	t.Helper()
	ops := []Op{newCredit(user, int64(n)*10, "credit")}
	for i := range n {
		op := newHold(user, 10, fmt.Sprint("hold", i))
		op.ExpiresIn = time.Second
		ops = append(ops, op)
	}
	ids := make([]uuid.UUID, n)
	for i, r := range mustDoBatch(t, l, ops)[1:] {
		ids[i] = r.EscrowID
	}
	return ids
}

// TestExpiryContinuesAfterAFailure has many escrows expire, one of which is damaged. The error
// names that one, and the others are refunded.
func TestExpiryContinuesAfterAFailure(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		ids := makeHolds(t, l, "user:a", 250) // more than one query lists
		damaged := ids[0]
		execStatement(t, l, `DELETE FROM escrows WHERE id = $1`, damaged)
		later := time.Now().Add(2 * time.Second)
		err := l.refundExpired(t.Context(), later)
		checkError(t, "refund expired escrows", err, ErrEscrowNotFound)
		if err != nil && !strings.Contains(err.Error(), damaged.String()) {
			t.Errorf("got error %v, want one that names escrow %s", err, damaged)
		}
		for _, id := range ids[1:] {
			checkEscrowStatus(t, l, id, StatusRefunded)
		}
		checkBalance(t, l, "user:a", Balance{Available: 2490, Escrow: 10, Seq: 1 + 250*3 + 249*3})
		due, err := l.store.listDueEscrows(t.Context(), later, dueEscrow{}, 10)
		checkError(t, "list due escrows", err, nil)
		checkEqual(t, "due escrows", len(due), 1)
	})
}

// TestExpiryFollowsTheClock has an account whose newest transaction is a year ahead, because of a
// core whose clock was ahead. A hold of that account expires when the clock says so.
func TestExpiryFollowsTheClock(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		first := runLedger(t, url)
		mustDoBatch(t, first, []Op{newCredit("user:a", 20, "c")})
		ahead := time.Now().AddDate(1, 0, 0).Truncate(time.Millisecond).UTC()
		execStatement(t, first, `UPDATE wallets SET updated_at = $1`, first.store.sharedQueries().timeValue(ahead))

		l := runLedger(t, url) // its cache does not have the account
		start := time.Now().Truncate(time.Millisecond)
		op := newHold("user:a", 10, "h")
		op.ExpiresIn = time.Hour
		held := mustDoBatch(t, l, []Op{op})[0]
		if !held.Timestamp.Equal(ahead) {
			t.Fatalf("time of the hold: got %v, want %v", held.Timestamp, ahead)
		}
		e := checkEscrowStatus(t, l, held.EscrowID, StatusHeld)
		if !e.CreatedAt.Equal(ahead) {
			t.Errorf("time of the escrow: got %v, want %v", e.CreatedAt, ahead)
		}
		earliest := start.Add(time.Hour)
		latest := time.Now().Add(time.Hour)
		if e.ExpiresAt.Before(earliest) || e.ExpiresAt.After(latest) {
			t.Errorf("expiry: got %v, want it between %v and %v", e.ExpiresAt, earliest, latest)
		}
		again := mustDoBatch(t, l, []Op{op})[0]
		checkEqual(t, "retry is replayed", again.Replayed, true)
		checkEqual(t, "escrow of the retry", again.EscrowID, held.EscrowID)

		err := l.refundExpired(t.Context(), time.Now().Add(time.Hour))
		checkError(t, "refund expired escrows", err, nil)
		e = checkEscrowStatus(t, l, held.EscrowID, StatusRefunded)
		if e.ClosedAt.Before(ahead) {
			t.Errorf("time of the refund: got %v, want at least %v", e.ClosedAt, ahead)
		}
	})
}

// TestExpiryRacesSettlements has two cores refund expired escrows while callers settle them. Each
// escrow is closed once, and its caller gets the matching answer.
func TestExpiryRacesSettlements(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		const n = 40
		cores := []*Ledger{runLedger(t, url), runLedger(t, url)}
		ids := makeHolds(t, cores[0], "user:a", n)
		later := time.Now().Add(2 * time.Second)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() { _, errs[i] = cores[i%2].Do(t.Context(), newSettle(id, "model:m", 10, id.String())) })
		}
		for _, l := range cores {
			wg.Go(func() { checkError(t, "refund expired escrows", l.refundExpired(t.Context(), later), nil) })
		}
		wg.Wait()

		var settled int64
		for i, id := range ids {
			if errs[i] == nil {
				settled++
				checkEscrowStatus(t, cores[0], id, StatusSettled)
				continue
			}
			checkEscrowStatus(t, cores[0], id, StatusRefunded)
			var processed *EscrowProcessedError
			if !errors.As(errs[i], &processed) {
				t.Errorf("settlement of a refunded escrow: got error %v, want an EscrowProcessedError", errs[i])
				continue
			}
			checkEqual(t, "status in the error", processed.Status, StatusRefunded)
		}
		b, err := cores[1].Balance(t.Context(), "user:a")
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "points in escrow", b.Escrow, 0)
		checkEqual(t, "available points", b.Available, 10*(n-settled))
		checkLedger(t, cores[0])
	})
}

// TestOldKeysAreRemoved has more keys than are removed at a time. They are kept for a day. A
// removed key may name another operation.
func TestOldKeysAreRemoved(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		ops := make([]Op, 2500)
		for i := range ops {
			ops[i] = newCredit("user:a", 1, fmt.Sprint(i))
		}
		mustDoBatch(t, l, ops)
		now := time.Now()
		old := l.store.sharedQueries().timeValue(now.Add(-24*time.Hour - time.Minute))
		young := l.store.sharedQueries().timeValue(now.Add(-24*time.Hour + time.Minute))
		execStatement(t, l, `UPDATE idempotency_keys SET created_at = $1`, old)
		execStatement(t, l, `UPDATE idempotency_keys SET created_at = $1 WHERE key IN ('1', '2499')`, young)

		err := l.removeOldKeys(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		for key, kept := range map[string]bool{"0": false, "1": true, "2498": false, "2499": true} {
			r := mustDoBatch(t, l, []Op{newCredit("user:a", 1, key)})[0]
			checkEqual(t, "operation with key "+key+" is replayed", r.Replayed, kept)
		}
		checkEqual(t, "keys", len(listKeys(t, l)), 4)
	})
}

func listKeys(t *testing.T, l *Ledger) []string {
	t.Helper()
	var keys []string
	err := l.store.sharedQueries().db.SelectContext(t.Context(), &keys, `SELECT key FROM idempotency_keys ORDER BY key`)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestKeysAgeByTheDatabaseClock has cores whose clocks are wrong. A clock that is ahead does not
// make a key old, and a clock that is behind removes fewer keys.
func TestKeysAgeByTheDatabaseClock(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url) // it does not run, so it removes no keys by itself
		mustCommit(t, l, newCredit("user:a", 1, "old"), newCredit("user:a", 1, "young"), newCredit("user:a", 1, "new"))
		now := time.Now()
		for key, age := range map[string]time.Duration{
			"old":   24*time.Hour + time.Minute,
			"young": 24*time.Hour - time.Minute,
		} {
			createdAt := l.store.sharedQueries().timeValue(now.Add(-age))
			execStatement(t, l, `UPDATE idempotency_keys SET created_at = $1 WHERE key = $2`, createdAt, key)
		}
		for _, tc := range []struct {
			name string
			now  time.Time
			want []string
		}{
			{"clock is behind", now.Add(-time.Hour), []string{"new", "old", "young"}},
			{"clock is ahead", now.Add(25 * time.Hour), []string{"new", "young"}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				err := l.removeOldKeys(t.Context(), tc.now)
				if err != nil {
					t.Fatal(err)
				}
				if got := listKeys(t, l); !slices.Equal(got, tc.want) {
					t.Errorf("keys: got %q, want %q", got, tc.want)
				}
			})
		}
	})
}

// TestRemovingKeysDoesNotDelayOperations has the removal of keys wait for a row lock.
func TestRemovingKeysDoesNotDelayOperations(t *testing.T) {
	t.Parallel()
	url := newPostgresDatabase(t)
	_, idle := openFaulty(t, url)
	mustCommit(t, idle, newCredit("user:a", 1, "old"))
	execStatement(t, idle, `UPDATE idempotency_keys SET created_at = $1`, time.Now().AddDate(0, 0, -2))
	db := idle.store.sharedQueries().db
	tx, err := db.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), `SELECT 1 FROM idempotency_keys FOR UPDATE`)
	if err != nil {
		t.Fatal(err)
	}

	l := runLedger(t, url)
	removed := make(chan error, 1)
	go func() { removed <- l.removeOldKeys(t.Context(), time.Now()) }()
	waitForLockedSession(t, db.GetContext)
	_, err = l.Do(t.Context(), newCredit("user:a", 1, "new"))
	checkError(t, "operation while keys are removed", err, nil)
	checkError(t, "rollback", tx.Rollback(), nil)
	checkError(t, "remove old keys", <-removed, nil)
}
