package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// TestManyAccountsGoBack loses an event of 10,000 accounts, half of which have another event
// afterwards.
func TestManyAccountsGoBack(t *testing.T) {
	t.Parallel()
	const count = 10_000
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
