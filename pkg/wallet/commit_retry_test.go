package wallet_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// TestConcurrentRetriesAreNotRefused sends each operation to two cores at once. The core that comes
// second returns the receipt of the first one, although the operation itself would be refused by
// then: the points are held already, or the escrow is closed.
func TestConcurrentRetriesAreNotRefused(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		ledgers := openTwo(t, url)
		for i := range 100 {
			user := wallet.Account(fmt.Sprint("user:u", i))
			mustDo(t, ledgers[0], newCredit(user, 10, fmt.Sprint("c", i)))
			hold := newHold(user, 10, fmt.Sprint("h", i))
			doOnBothCores(t, ledgers, hold)
			held := mustDo(t, ledgers[0], hold)
			doOnBothCores(t, ledgers, newRefund(held.EscrowID, 10, fmt.Sprint("r", i)))
		}
	})
}

// doOnBothCores does one operation on two cores at once, and compares the receipts.
func doOnBothCores(t *testing.T, ledgers [2]*wallet.Ledger, op wallet.Op) {
	t.Helper()
	var wg sync.WaitGroup
	var receipts [2]string
	for i := range receipts {
		wg.Go(func() {
			r, err := ledgers[i].Do(t.Context(), op)
			if err != nil {
				t.Errorf("%s on core %d: %v", op.IdempotencyKey, i, err)
			}
			receipts[i] = encodeReceipt(t, r)
		})
	}
	wg.Wait()
	checkEqual(t, op.IdempotencyKey+": receipt of the other core", receipts[1], receipts[0])
}
