package wallet

import (
	"fmt"
	"testing"
	"time"
)

// TestTimesOfAnAccountDoNotGoBack has an account whose newest transaction is an hour ahead of the
// clock. Its next transaction is not earlier. Other accounts of the same batch get the clock's
// time.
func TestTimesOfAnAccountDoNotGoBack(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		f, l := openFaulty(t, url)
		mustCommit(t, l, newCredit("user:ahead", 5, "1"))
		ahead := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
		execStatement(t, l, `UPDATE wallets SET updated_at = $1`, l.store.sharedQueries().timeValue(ahead))
		f.committer.cache = nil // it has the account's former time
		receipts := mustCommit(t, l,
			newHold("user:ahead", 5, "2"),
			newCredit("user:now", 1, "3"),
			newCredit("user:now", 1, "4"),
			newCredit("model:new", 1, "5"))

		held := receipts[0]
		if !held.Timestamp.Equal(ahead) {
			t.Errorf("time of the hold: got %v, want %v", held.Timestamp, ahead)
		}
		for i, r := range receipts[1:] {
			if time.Until(r.Timestamp) > time.Minute {
				t.Errorf("time of credit %d: got %v, want the clock's", i, r.Timestamp)
			}
		}
		// A settlement is not earlier than the newest transaction of its user, and passes that time
		// on to its model.
		for _, op := range []Op{newSettle(held.EscrowID, "model:new", 5, "6"), newCredit("model:new", 1, "7")} {
			r := mustCommit(t, l, op)[0]
			if r.Timestamp.Before(ahead) {
				t.Errorf("time of the %s: got %v, want at least %v", op.Operation, r.Timestamp, ahead)
			}
		}
	})
}

// TestEscrowOfAMissingAccountFailsAlone closes an escrow whose user's wallet was deleted.
func TestEscrowOfAMissingAccountFailsAlone(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		held := mustCommit(t, l, newCredit("user:a", 5, "1"), newHold("user:a", 5, "2"))[1]
		execStatement(t, l, `DELETE FROM wallets`)
		results := commitBatch(t, l,
			newCredit("user:b", 1, "4"),
			newRefund(held.EscrowID, 5, "3"),
			newCredit("user:c", 1, "5"))
		for i, want := range []error{nil, errNoWallet, nil} {
			checkError(t, fmt.Sprint("operation ", i), results[i].err, want)
		}
	})
}
