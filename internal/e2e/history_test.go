package e2e

import (
	"maps"
	"slices"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// The accounts of the tests in which the ledger goes back.
const (
	busyUser  = "user:busy"  // loses events, and has more other ones afterwards
	forkUser  = "user:fork"  // loses one event, and has one other with the same seq
	quietUser = "user:quiet" // loses events, and has no other ones
	stillUser = "user:still" // has no events after the copy
	lostUser  = "user:lost"  // had its first event after the copy
	earnModel = "model:earn" // loses the events of a settlement
)

var historyAccounts = []string{busyUser, forkUser, quietUser, stillUser, lostUser, earnModel}

// beginHistory makes the events that the copy has.
func beginHistory(a *api) {
	a.w.Helper()
	a.creditTimes(2, busyUser, forkUser, quietUser, stillUser)
	a.settleHold(quietUser, earnModel, 5)
	a.w.waitUntilPublished()
}

// loseHistory makes the events that the copy does not have.
func loseHistory(a *api) {
	a.w.Helper()
	a.creditTimes(3, busyUser, quietUser)
	a.mustDo(newCredit(forkUser, 500))
	a.mustDo(newCredit(lostUser, 50))
	a.settleHold(quietUser, earnModel, 3)
	a.w.waitUntilPublished()
}

// continueHistory makes other events after the copy is in place.
func continueHistory(a *api) {
	a.w.Helper()
	a.waitUntilDone(newCredit(busyUser, 7))
	for range 5 {
		a.waitUntilDone(newCredit(busyUser, 8))
	}
	a.waitUntilDone(newCredit(forkUser, 7))
}

// settleHold holds points of the user and settles them with the model.
func (a *api) settleHold(user, model string, amount int64) {
	a.w.Helper()
	held := a.mustDo(newHold(user, amount))
	a.mustDo(newSettle(held.EscrowID, model, amount))
}

// watchAll starts a watcher of each kind at the gateway.
func (w *world) watchAll(gateway *server) []*watcher {
	w.Helper()
	name := func(kind string) string { return kind + " at " + gateway.http }
	return []*watcher{
		w.watch(name("ws"), gateway, watcherOptions{}, historyAccounts...),
		w.watch(name("sse"), gateway, watcherOptions{sse: true}, historyAccounts...),
		w.watch(name("holds only"), gateway, watcherOptions{types: []string{"wallet.escrow_held"}}, historyAccounts...),
	}
}

// waitForTruths waits until the watchers without a filter are at the given state.
func waitForTruths(truths map[string]truth, watchers ...*watcher) {
	for _, v := range watchers {
		if len(v.options.types) > 0 {
			continue
		}
		for _, account := range v.accounts {
			v.waitForPosition(account, truths[account].newest())
		}
	}
}

// TestLedgerGoesBack puts an older copy of the ledger in place under a running core, two gateways
// and clients of each kind.
func TestLedgerGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateways := []*server{w.startGateway(core.baseURL()), w.startGateway(core.baseURL())}
	a := w.newAPI(core)
	beginHistory(a)
	backup := w.backUpLedger(core)
	old := a.readTruths(historyAccounts...)

	var connected []*watcher
	for _, g := range gateways {
		connected = append(connected, w.watchAll(g)...)
	}
	loseHistory(a)
	lost := a.readTruths(historyAccounts...)
	away := []*watcher{
		w.watch("away with ws", gateways[0], watcherOptions{}, historyAccounts...),
		w.watch("away with sse", gateways[0], watcherOptions{sse: true}, historyAccounts...),
		w.watch("away to the other gateway", gateways[1], watcherOptions{}, historyAccounts...),
	}
	withoutChain := w.watch("away without chain", gateways[0], watcherOptions{omitsChain: true}, quietUser, stillUser, lostUser)
	waitForTruths(lost, slices.Concat(connected, away, []*watcher{withoutChain})...)
	for _, v := range append(away, withoutChain) {
		v.disconnect()
	}

	w.restoreLedger(backup)
	continueHistory(a)
	truths := a.readTruths(historyAccounts...)
	for i, v := range away {
		v.connect(gateways[i%2])
	}
	withoutChain.connect(gateways[1])
	fresh := w.watch("fresh", gateways[0], watcherOptions{}, historyAccounts...)
	w.waitForHashes(truths, core)

	var wantVoid []streamPosition
	for _, account := range historyAccounts {
		wantVoid = append(wantVoid, newPositions(account, old[account], lost[account])...)
	}
	sortPositions(wantVoid)
	void := w.checkVoidReceipts(truths)
	if !slices.Equal(void, wantVoid) {
		t.Errorf("void events in the streams:\ngot  %v\nwant %v", void, wantVoid)
	}

	for _, v := range slices.Concat(connected, away, []*watcher{withoutChain, fresh}) {
		v.checkTruth(truths)
	}
	for _, v := range slices.Concat(connected, away, []*watcher{withoutChain}) {
		for _, account := range v.accounts {
			want := 1
			if account == stillUser || (len(v.options.types) > 0 && account != quietUser) {
				want = 0
			}
			v.checkChanges(account, want)
		}
	}

	common := maps.Clone(old)
	delete(common, stillUser)
	w.checkMarkers(common)
	checkEqual(t, "accounts that the core set back", w.readMetric(core, "realtime_relay_forked_accounts_total"), float64(len(common)))

	// The history goes on.
	a.creditTimes(2, historyAccounts...)
	truths = a.readTruths(historyAccounts...)
	for _, v := range slices.Concat(connected, away, []*watcher{withoutChain, fresh}) {
		v.checkTruth(truths)
	}
	w.waitForHashes(truths, core)
}

// TestLedgerGoesBackWhileRedisIsEmptied loses commits and all data of Redis at once.
func TestLedgerGoesBackWhileRedisIsEmptied(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"ledger first", "redis first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			redis := testenv.RedisServer(t)
			w := newWorldOn(t, redis.URL(), "e2e")
			core := w.startCore()
			gateway := w.startGateway(core.baseURL())
			a := w.newAPI(core)
			beginHistory(a)
			backup := w.backUpLedger(core)
			connected := w.watchAll(gateway)
			loseHistory(a)
			lost := a.readTruths(historyAccounts...)
			away := w.watch("away", gateway, watcherOptions{loadsHistory: true}, historyAccounts...)
			waitForTruths(lost, append(connected, away)...)
			away.disconnect()

			flush := func() {
				err := w.rdb.FlushAll(t.Context()).Err()
				if err != nil {
					t.Fatal(err)
				}
			}
			if order == "redis first" {
				flush()
			}
			w.restoreLedger(backup)
			if order == "ledger first" {
				flush()
			}
			continueHistory(a)
			truths := a.readTruths(historyAccounts...)
			away.connect(gateway)
			w.waitForHashes(truths, core)
			w.checkVoidReceipts(truths)
			for _, v := range append(connected, away) {
				v.checkTruth(truths)
			}
		})
	}
}

// TestCoreStartsOnAnOlderLedger stops the core, puts the older copy in place and starts the core
// again. No event is added afterwards, so only the core itself can notice.
func TestCoreStartsOnAnOlderLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	beginHistory(a)
	backup := w.backUpLedger(core)
	connected := w.watchAll(gateway)
	loseHistory(a)
	waitForTruths(a.readTruths(historyAccounts...), connected...)
	core.killProcess()
	w.restoreLedger(backup)
	core.startProcess()
	truths := a.readTruths(historyAccounts...)
	w.waitForHashes(truths, core)
	w.checkVoidReceipts(truths)
	for _, v := range connected {
		v.checkTruth(truths)
	}
}

// TestGatewayStartsAfterTheLedgerWentBack starts a gateway that reads the void events, the markers
// and the new events from the streams.
func TestGatewayStartsAfterTheLedgerWentBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	beginHistory(a)
	backup := w.backUpLedger(core)
	loseHistory(a)
	lost := a.readTruths(historyAccounts...)
	away := []*watcher{
		w.watch("ws", gateway, watcherOptions{}, historyAccounts...),
		w.watch("sse", gateway, watcherOptions{sse: true}, historyAccounts...),
		w.watch("holds only", gateway, watcherOptions{types: []string{"wallet.escrow_held"}}, historyAccounts...),
	}
	waitForTruths(lost, away...)
	for _, v := range away {
		v.disconnect()
	}
	gateway.killProcess()
	w.restoreLedger(backup)
	continueHistory(a)
	truths := a.readTruths(historyAccounts...)
	w.waitForHashes(truths, core)
	gateway.startProcess("--core-url", core.baseURL())
	fresh := w.watch("fresh", gateway, watcherOptions{}, historyAccounts...)
	for _, v := range away {
		v.connect(gateway)
	}
	for _, v := range append(away, fresh) {
		v.checkTruth(truths)
	}
}

// TestLedgerGoesBackUnderLoad puts the older copy in place while two cores work on the same accounts.
func TestLedgerGoesBackUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cores := []*server{w.startCore(), w.startCore()}
	gateways := []*server{w.startGateway(cores[0].baseURL()), w.startGateway(cores[1].baseURL())}
	apis := []*api{w.newAPI(cores[0]), w.newAPI(cores[1])}
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models, []string{quietUser})
	apis[0].creditTimes(1, accounts...)
	l := w.startLoad(4, apis, users, models)
	l.mu.Lock()
	l.ledgerGoesBack = true
	l.mu.Unlock()
	var watchers []*watcher
	for _, g := range gateways {
		watchers = append(watchers,
			w.watch("ws at "+g.http, g, watcherOptions{}, accounts...),
			w.watch("sse at "+g.http, g, watcherOptions{sse: true}, accounts...))
	}
	l.waitForWrites(50)
	backup := w.backUpLedger(cores...)
	l.waitForWrites(50)
	apis[1].waitUntilDone(newCredit(quietUser, 9))
	l.waitForWrites(50)
	w.restoreLedger(backup)
	l.waitForWrites(100)
	l.stopWorkers()

	w.waitUntilPublished()
	truths := apis[0].readTruths(accounts...)
	w.waitForHashes(truths, cores...)
	w.checkVoidReceipts(truths)
	w.checkSums()
	for _, v := range watchers {
		v.checkTruth(truths)
	}
}
