package e2e

import (
	"fmt"
	"slices"
	"testing"
)

// TestManyAccountsGoBack loses an event of 4,000 accounts, half of which have another event
// afterwards.
func TestManyAccountsGoBack(t *testing.T) {
	t.Parallel()
	const count = 4_000
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	accounts := manyAccounts(count)
	a.batchCredit(100, accounts)
	w.waitUntilPublished()
	backup := w.backUpLedger(core)

	var watchers []*watcher
	for i := range 8 {
		watched := slices.Collect(everyNth(accounts, i, count/32))
		watchers = append(watchers, w.watch(fmt.Sprint("watcher ", i), gateway, watcherOptions{sse: i%2 == 0}, watched...))
	}
	a.batchCredit(500, accounts)
	w.waitUntilPublished()
	for _, v := range watchers {
		for _, account := range v.accounts {
			v.waitUntil("event 2 of "+account, func() bool { return v.seen[account].seq == 2 })
		}
	}

	stop := core.followHistoryCheck()
	w.restoreLedger(backup)
	a.batchCredit(7, accounts[:count/2])
	w.waitForManyHashes(accounts, count/2)
	core.waitUntilReady()
	w.waitUntil("the core has checked the history", func() bool { return core.readHistoryCheck() == "ok" })
	seen := stop()
	t.Logf("/readyz said about the history: %q", seen)
	if len(seen) == 0 {
		t.Error("the check of the history in /readyz never failed")
	}

	for _, v := range watchers {
		v.checkTruth(a.readTruths(v.accounts...))
		for _, account := range v.accounts {
			v.checkChanges(account, 1)
		}
	}
	report := w.verifyAgainst("redis")
	checkEqual(t, "findings of core verify --against redis", report.FindingCount, count)
	checkEqual(t, "void transactions", report.VoidTransactions, count)
	checkEqual(t, "exit code", report.exitCode, 1)
}

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
	w.waitUntilPublished()
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
	w.waitForAvailable(accounts[:changed], "107")
	w.waitForAvailable(accounts[changed:], "100")
}

// waitForAvailable waits until the balance hashes of users have the available points. It reads only
// some at a time, because reading all again and again would slow down what it waits for.
func (w *world) waitForAvailable(users []string, want string) {
	w.Helper()
	for chunk := range slices.Chunk(users, 100) {
		w.waitUntil("the balance hashes from "+chunk[0]+" on are the ledger's", func() bool {
			for _, available := range w.readAvailable(chunk) {
				if available != want {
					return false
				}
			}
			return true
		})
	}
}

// everyNth yields each n-th item from the first one.
func everyNth(items []string, first, n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := first; i < len(items); i += n {
			if !yield(items[i]) {
				return
			}
		}
	}
}
