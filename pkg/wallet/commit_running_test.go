package wallet

import (
	"context"
	"testing"
	"time"
)

// TestLongCommitsAreReported has a batch that has run for longer than commits may take.
func TestLongCommitsAreReported(t *testing.T) {
	t.Parallel()
	l := &Ledger{}
	checkError(t, "check without a commit", l.CheckCommits(t.Context()), nil)

	c := &committer{}
	l.running.addBatch(c)
	checkError(t, "check with a fresh commit", l.CheckCommits(t.Context()), nil)
	l.running.since[c] = time.Now().Add(-time.Minute)
	if l.CheckCommits(t.Context()) == nil {
		t.Error("check with a commit that has run for a minute: got no error")
	}
	l.running.removeBatch(c)
	checkError(t, "check after the commit", l.CheckCommits(t.Context()), nil)
}

// TestCommitTimeoutEndsABlockedCommit holds a lock that a commit needs for longer than the limit.
func TestCommitTimeoutEndsABlockedCommit(t *testing.T) {
	t.Parallel()
	url := newPostgresDatabase(t)
	_, other := openFaulty(t, url)
	l, err := Open(t.Context(), url, Config{CommitTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	runUntilCleanup(t, l)

	lock, err := other.store.sharedQueries().db.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE wallets`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Do(t.Context(), newCredit("user:u", 1, "k"))
	checkError(t, "credit while the table is locked", err, ErrUnavailable)
	checkError(t, "its cause", err, context.DeadlineExceeded)

	checkError(t, "rollback", lock.Rollback(), nil)
	_, err = l.Balance(t.Context(), "user:u")
	checkError(t, "balance without the lock", err, ErrAccountNotFound)
}
