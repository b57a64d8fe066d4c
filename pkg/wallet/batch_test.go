package wallet

import (
	"errors"
	"testing"
)

// An escrow whose user's wallet somebody deleted ends with an error, alone.
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
