package wallet_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// A repeat that another core does at the same moment gets the first one's
// receipt, although what it asks for is then refused: the escrow is settled, the points are gone.
func TestConcurrentRepeatsAreNotRefused(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		ledgers := []*wallet.Ledger{wallettest.Open(t, url, wallet.Config{}), wallettest.Open(t, url, wallet.Config{})}
		both := func(op wallet.Op) {
			t.Helper()
			var wg sync.WaitGroup
			var receipts [2]string
			for i := range receipts {
				wg.Go(func() {
					r, err := ledgers[i].Do(t.Context(), op)
					if err != nil {
						t.Errorf("%s: %v", op.IdempotencyKey, err)
					}
					raw, _ := json.Marshal(r)
					receipts[i] = string(raw)
				})
			}
			wg.Wait()
			if receipts[0] != receipts[1] {
				t.Errorf("%s: %s and %s", op.IdempotencyKey, receipts[0], receipts[1])
			}
		}
		for i := range 100 {
			user := wallet.Account(fmt.Sprint("user:u", i))
			mustDo(t, ledgers[0], credit(user, 10, fmt.Sprint("c", i)))
			h := hold(user, 10, fmt.Sprint("h", i))
			both(h)
			held := mustDo(t, ledgers[0], h)
			both(wallet.Op{
				Operation: wallet.OpRefund, IdempotencyKey: fmt.Sprint("r", i), EscrowID: held.EscrowID,
				Amount: 10, Reason: "admin_refund", QueueItemID: h.QueueItemID,
			})
		}
	})
}
