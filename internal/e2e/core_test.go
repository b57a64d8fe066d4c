package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

// TestCoreDiesBetweenCommitAndPublish pauses the network to Redis at the two critical moments and
// kills the core.
func TestCoreDiesBetweenCommitAndPublish(t *testing.T) {
	t.Parallel()
	beforePublish := (*testenv.Proxy).PauseRequests
	beforeReply := (*testenv.Proxy).PauseReplies
	for name, tc := range map[string]crashCase{
		"before Redis has the event":                            {pause: beforePublish},
		"before the core knows that Redis has it":               {pause: beforeReply, isPublished: true},
		"before Redis has the event, with another core":         {pause: beforePublish, hasOtherCore: true},
		"before the core knows that it has it, with other core": {pause: beforeReply, isPublished: true, hasOtherCore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCoreDiesBeforePublish(t, tc)
		})
	}
}

type crashCase struct {
	pause        func(*testenv.Proxy)
	isPublished  bool // Redis has the event when the core dies
	hasOtherCore bool // another core runs, and the dead one is not started again
}

func testCoreDiesBeforePublish(t *testing.T, tc crashCase) {
	const user = "user:u1"
	w := newWorld(t)
	link, redisURL := w.startProxy(w.redisURL)
	core := w.startCore("--redis-url", redisURL)
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	c := w.startClient("app", []*server{gateway}, user)
	a.mustDo(newCredit(user, 1000))
	c.waitForSeq(user, 1)
	w.waitUntilPublished()
	survivor := core
	if tc.hasOtherCore {
		survivor = w.startCore()
	}

	tc.pause(link)
	wr := newHold(user, 100)
	got := a.mustDo(wr) // a commit does not wait for Redis
	reader := w.newStreamReader()
	if tc.isPublished {
		c.waitForSeq(user, 4)
	}
	if !tc.hasOtherCore { // another core may publish the hold, and mark it as published
		reader.readAll()
		wantEntries := 1
		if tc.isPublished {
			wantEntries = 4
		}
		checkEqual(t, "entries in the stream before the crash", len(reader.entries[user]), wantEntries)
		checkEqual(t, "rows in the outbox before the crash", w.countOutbox(), 1)
	}
	core.killProcess()
	link.Cut() // the bytes on their way are lost
	if !tc.hasOtherCore {
		core.startProcess()
	}

	a = w.newAPI(survivor)
	w.waitUntilPublished()
	again := a.mustDo(wr)
	checkEqual(t, "retry after the crash is replayed", again.Replayed, true)
	checkEqual(t, "transaction of the retry", again.TransactionID, got.TransactionID)
	a.mustDo(newRefund(got.EscrowID, 100))
	c.waitForSeq(user, 7)
	w.checkAgreement(a, reader, []string{user}, c)
}

// accountNames returns n accounts of one type.
func accountNames(kind string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = kind + ":" + string(rune('a'+i))
	}
	return list
}

func TestCoreDiesUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	reader := w.newStreamReader()
	stop := reader.followStreams()
	l := w.startLoad(16, []*api{a}, users, models)
	for range 3 {
		l.waitForWrites(100)
		core.killProcess()
		core.startProcess()
	}
	l.waitForWrites(100)
	l.checkRetries(a)
	stop()
	w.checkAgreement(a, reader, l.listAccounts(), c)
}

// TestCoreStopsUnderLoad stops the core as a deployment does. Before the process ends, it publishes
// all operations that are done. Operations without an answer can be retried with their keys.
func TestCoreStopsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.startLoad(16, []*api{a}, users, models)
	for range 2 {
		l.waitForWrites(100)
		core.stopProcess()
		checkEqual(t, "rows in the outbox after the core has stopped", w.countOutbox(), 0)
		core.startProcess()
	}
	l.waitForWrites(100)
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), l.listAccounts(), c)
}

// TestTwoCores has two cores work on the same few accounts, while a reader of all events asks both.
func TestTwoCores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startCore()
	second := w.startCore()
	gateway := w.startGateway(first.baseURL())
	apis := []*api{w.newAPI(first), w.newAPI(second)}
	users := accountNames("user", 2)
	models := accountNames("model", 1)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	reader := w.newStreamReader()
	stop := reader.followStreams()
	stopFollowing := w.followAllEvents(first, second)
	l := w.startLoad(16, apis, users, models)
	l.waitForWrites(300)
	for range 20 {
		checkConcurrentRetry(t, l, users[0])
	}
	second.killProcess()
	l.waitForWrites(100)
	second.startProcess()
	l.waitForWrites(100)
	l.checkRetries(apis[1])
	stop()
	w.checkAgreement(apis[0], reader, l.listAccounts(), c)
	stopFollowing().checkAgainst(apis[0], l.listAccounts())
}

// checkConcurrentRetry sends one hold to both cores at once. It has one effect.
func checkConcurrentRetry(t *testing.T, l *load, user string) {
	t.Helper()
	wr := newHold(user, 1)
	answers := make(chan client.Receipt, len(l.apis))
	for _, a := range l.apis {
		l.wg.Go(func() {
			got, _ := l.doWrite(a, wr)
			answers <- got
		})
	}
	one := <-answers
	other := <-answers
	checkEqual(t, "transaction of one key at both cores", other.TransactionID, one.TransactionID)
	checkEqual(t, "number of cores that replay", one.Replayed != other.Replayed, true)
	l.dropRetries(wr)
}

// TestPostgresIsUnreachable disconnects the core from its database. The core refuses writes in
// time, and the gateway serves its memory.
func TestPostgresIsUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link, databaseURL := w.startProxy(w.databaseURL)
	core := w.startCore("--database-url", databaseURL)
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.startLoad(16, []*api{a}, users, models)
	l.waitForWrites(100)

	link.PauseReplies() // the database acts, but its answers do not arrive
	wr := newHold(users[0], 7)
	for _, state := range []string{"silent", "disconnected"} {
		checkRefusedInTime(t, a, state, wr)
		fresh := w.startClient("fresh, database "+state, []*server{gateway}, users[1])
		fresh.disconnect()
		w.getBody(gateway.baseURL()+"/v1/accounts/"+users[1]+"/balance", c.token, 200)
		link.Cut()
	}
	checkEqual(t, "gateway is ready without the database", gateway.isReady(), true)
	link.Resume()
	l.waitForWrites(100)
	first := a.mustDo(wr)
	second := a.mustDo(wr)
	checkEqual(t, "transaction of the retry", second.TransactionID, first.TransactionID)
	checkEqual(t, "retry is replayed", second.Replayed, true)

	l.stopWorkers()
	l.records = append(l.records, &writeRecord{operation: wr})
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), l.listAccounts(), c)
	c.checkStayedConnected()
}

// checkRefusedInTime sends a write that the core must refuse within 45 s.
func checkRefusedInTime(t *testing.T, a *api, state string, op client.Operation) {
	t.Helper()
	start := time.Now()
	_, err := a.sendOnce(op)
	if !isRefused(err) {
		t.Errorf("write while the database is %s: got %v, want 503", state, err)
	}
	if duration := time.Since(start); duration > 45*time.Second {
		t.Errorf("write while the database is %s: got the answer after %s, want it within 45 s", state, duration)
	}
}

// TestPostgresRestarts ends the core's database sessions many times, at any moment of a
// transaction.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link, databaseURL := w.startProxy(w.databaseURL)
	core := w.startCore("--database-url", databaseURL)
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.startLoad(16, []*api{a}, users, models)
	for range 10 {
		l.waitForWrites(20)
		w.queryInt(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'realtime-core%'`)
		l.waitForWrites(20)
		link.PauseReplies()
		link.Cut()
		link.Resume()
	}
	l.waitForWrites(50)
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), l.listAccounts(), c)
}
