package wallet

import (
	"errors"
	"testing"
	"time"
)

// TestClocksThatAreAheadAreNotCatching has an account whose newest transaction is an hour ahead.
// Its next transaction is not earlier; those of other accounts in the same batch are not affected.
func TestClocksThatAreAheadAreNotCatching(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		commitBatch(t, l, creditOf("user:ahead", 5, "1"))
		ahead := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
		change(t, l, `UPDATE wallets SET updated_at = $1`, l.store.sharedQueries().timeValue(ahead))
		l.store.(*faulty).committer.cache = nil // it would have the time of before
		hold := Op{Operation: OpHold, Account: "user:ahead", Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "2"}
		rs := commitBatch(t, l, creditOf("user:now", 1, "3"), hold, creditOf("user:now", 1, "4"), creditOf("model:new", 1, "5"))
		for i, r := range rs {
			if r.err != nil {
				t.Fatal(r.err)
			}
			if at := r.receipt.Timestamp; i == 1 && !at.Equal(ahead) || i != 1 && time.Until(at) > time.Minute {
				t.Errorf("operation %d is of %v", i, at)
			}
		}
		// A settlement's user and model both count.
		settle := Op{Operation: OpSettle, EscrowID: rs[1].receipt.EscrowID, Model: "model:new", Amount: 5, Reason: "r", QueueItemID: "q", IdempotencyKey: "6"}
		if r := commitBatch(t, l, settle)[0]; r.err != nil || r.receipt.Timestamp.Before(ahead) {
			t.Errorf("settlement of %v, %v", r.receipt.Timestamp, r.err)
		}
		if r := commitBatch(t, l, creditOf("model:new", 1, "7"))[0]; r.err != nil || r.receipt.Timestamp.Before(ahead) {
			t.Errorf("after it, of %v, %v", r.receipt.Timestamp, r.err)
		}
	})
}

// TestEscrowWithoutWalletStandsAlone ends an escrow whose user's wallet was deleted. Only that
// operation fails.
func TestEscrowWithoutWalletStandsAlone(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		hold := Op{Operation: OpHold, Account: "user:a", Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "2"}
		held := commitBatch(t, l, creditOf("user:a", 5, "1"), hold)[1].receipt
		change(t, l, `DELETE FROM wallets`)
		refund := Op{Operation: OpRefund, EscrowID: held.EscrowID, Amount: 5, Reason: "r", QueueItemID: "q", IdempotencyKey: "3"}
		rs := commitBatch(t, l, creditOf("user:b", 1, "4"), refund, creditOf("user:c", 1, "5"))
		if rs[0].err != nil || !errors.Is(rs[1].err, errNoWallet) || rs[2].err != nil {
			t.Errorf("%v, %v, %v", rs[0].err, rs[1].err, rs[2].err)
		}
	})
}
