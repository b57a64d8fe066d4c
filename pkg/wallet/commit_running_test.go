package wallet

import (
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
