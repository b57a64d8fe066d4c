package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

// replicated is a world whose Postgres has a synchronous standby.
type replicated struct {
	*world
	primary     *testenv.PostgresServer
	standby     *testenv.PostgresServer
	replication *testenv.Proxy // between primary and standby
	endpoint    *testenv.Proxy // between the core and the primary
	core        *server
	api         *api
	client      *rawClient
}

const standbyUser = "user:u1"

// newReplicatedWorld starts the servers, a core, a gateway and a client. The account has 100 points.
func newReplicatedWorld(t *testing.T) *replicated {
	t.Helper()
	redisURL, namespace := testenv.Redis(t)
	primary := testenv.NewPostgresServer(t)
	migrate := exec.Command(filepath.Join(programs, "core"), "migrate", "up", "--database-url", primary.URL("postgres"))
	output, err := migrate.CombinedOutput()
	if err != nil {
		t.Fatalf("core migrate up: %v\n%s", err, output)
	}
	r := &replicated{
		world:       newWorldWith(t, primary.URL("postgres"), redisURL, namespace),
		primary:     primary,
		replication: testenv.NewProxy(t, primary.Addr()),
	}
	r.standby = primary.NewStandby(r.replication.Addr())
	primary.RequireStandby()

	endpoint, databaseURL := r.startProxy(r.databaseURL)
	r.endpoint = endpoint
	r.core = r.startCore("--database-url", databaseURL)
	gateway := r.startGateway(r.core.baseURL())
	r.api = r.newAPI(r.core)
	r.client = r.startClient("app", []*server{gateway}, standbyUser)
	r.api.mustDo(newCredit(standbyUser, 100))
	r.client.waitForSeq(standbyUser, 1)
	return r
}

// checkRefused sends a write that the core must refuse because the standby is away.
func (r *replicated) checkRefused(name string, op client.Operation) {
	r.Helper()
	_, err := r.api.sendOnce(op)
	if !isRefused(err) {
		r.Errorf("%s: got %v, want 503 unavailable", name, err)
	}
}

// checkShown checks that the client was shown exactly the ledger's two events.
func (r *replicated) checkShown() {
	r.Helper()
	r.client.waitForSeq(standbyUser, 2)
	b := r.api.readBalance(standbyUser)
	checkEqual(r, "balance", b.Available, 105)
	checkEqual(r, "seq", b.Seq, 2)
	r.client.checkAccount(standbyUser, r.api.readHistory(standbyUser), b)
}

// TestPromotedStandbyHasAllThatWasShown loses the connection between a primary and its synchronous
// standby, and then the primary. The operator ends the sessions that wait, so that the credit is
// visible at the primary. Nobody is told of it, and a retry does it once at the promoted standby.
func TestPromotedStandbyHasAllThatWasShown(t *testing.T) {
	t.Parallel()
	r := newReplicatedWorld(t)
	r.replication.PauseReplies()
	wr := newCredit(standbyUser, 5)
	r.checkRefused("credit", wr)
	r.queryInt(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
	r.waitUntil("the credit is visible at the primary", func() bool {
		return r.queryInt(`SELECT available FROM wallets WHERE account = $1`, standbyUser) == 105
	})
	r.checkRefused("retry", wr)
	checkEqual(t, "core is ready without the standby", r.core.isReady(), false)

	r.primary.Crash()
	r.replication.Cut() // the credit on its way to the standby is lost
	r.standby.Promote()
	r.endpoint.SetTarget(r.standby.Addr())
	got := r.api.waitUntilDone(wr)
	checkEqual(t, "retry at the promoted standby is replayed", got.Replayed, false)
	checkEqual(t, "another retry is replayed", r.api.mustDo(wr).Replayed, true)
	r.checkShown()
	r.core.waitUntilReady()
}

// TestReturningStandbyConfirmsTheCredit loses the connection between a primary and its synchronous
// standby for a while.
func TestReturningStandbyConfirmsTheCredit(t *testing.T) {
	t.Parallel()
	r := newReplicatedWorld(t)
	r.replication.PauseReplies()
	wr := newCredit(standbyUser, 5)
	r.checkRefused("credit", wr)
	r.checkRefused("retry", wr)
	checkEqual(t, "credits that are visible", r.queryInt(`SELECT available FROM wallets WHERE account = $1`, standbyUser), 100)

	r.replication.Resume()
	got := r.api.waitUntilDone(wr)
	checkEqual(t, "retry is replayed", got.Replayed, true)
	r.checkShown()
	r.core.waitUntilReady()
	r.checkReplay()
}

// checkReplay requires core replay to read from the primary only, if it cannot know whether an event is
// missing.
func (r *replicated) checkReplay() {
	r.Helper()
	r.queryInt(`SELECT nextval(pg_get_serial_sequence('journal', 'position'))`) // a gap, as of a batch that aborts
	r.api.mustDo(newCredit(standbyUser, 1))
	output, err := r.replayFrom(r.databaseURL)
	if err != nil {
		r.Fatalf("core replay: %v\n%s", err, output)
	}
	checkEqual(r, "events of core replay", strings.Count(output, "\n"), 3)
	r.waitUntil("core replay refuses the standby, which has the event", func() bool {
		output, err := r.replayFrom(r.standby.URL("postgres"))
		return err != nil && strings.Contains(output, "must be read from the primary")
	})
}
