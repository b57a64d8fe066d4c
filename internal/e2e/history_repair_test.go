package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// TestCoreDiesWhileItRepairs kills the core while it sets accounts back. After its restart it goes on
// with the others, although nothing else happens to them.
func TestCoreDiesWhileItRepairs(t *testing.T) {
	t.Parallel()
	const count = 4000
	w := newWorld(t)
	core := w.startCore()
	a := w.newAPI(core)
	accounts := manyAccounts(count)
	a.batchCredit(100, accounts)
	backup := w.backUpLedger(core)
	a.batchCredit(500, accounts)
	w.waitUntilPublished()
	w.restoreLedger(backup)
	w.waitUntil("the core repairs accounts", func() bool {
		text := core.readHistoryCheck()
		return text != "" && text != "ok"
	})
	core.killProcess()
	core.startProcess()
	w.waitForManyHashes(accounts, 0)
	w.waitUntil("the core has checked the history", func() bool { return core.readHistoryCheck() == "ok" })
	report := w.verifyAgainst("redis")
	checkEqual(t, "findings of core verify --against redis", report.FindingCount, count)
	checkEqual(t, "void transactions", report.VoidTransactions, count)
}

func manyAccounts(n int) []string {
	accounts := make([]string, n)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("user:many%d", i)
	}
	return accounts
}

// waitForManyHashes waits until the balance hashes of all accounts have the balance after the restore:
// two events for the first ones, and one for the others.
func (w *world) waitForManyHashes(accounts []string, changed int) {
	w.Helper()
	waiting := map[string]string{}
	for i, account := range accounts {
		waiting[account] = "100"
		if i < changed {
			waiting[account] = "107"
		}
	}
	for len(waiting) > 0 {
		before := len(waiting)
		w.waitUntil("more balance hashes are the ledger's", func() bool {
			for chunk := range slices.Chunk(slices.Collect(maps.Keys(waiting)), 1000) {
				w.deleteEqual(waiting, chunk)
			}
			return len(waiting) < before
		})
	}
}

// deleteEqual deletes those users whose balance hashes have the available points that are waited for.
func (w *world) deleteEqual(waiting map[string]string, users []string) {
	w.Helper()
	for user, available := range w.readAvailable(users) {
		if available == waiting[user] {
			delete(waiting, user)
		}
	}
}
