package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"time"

	_ "github.com/lib/pq" // the driver

	"github.com/redroomrewards/realtime/internal/testenv"
)

// database is Postgres with a synchronous standby. Its methods are called by the test's goroutine.
type database struct {
	w       *world
	primary *testenv.PostgresServer
	standby *testenv.PostgresServer // nil after it was promoted, until there is another one

	direct      *testenv.Proxy // leads to the primary; no fault concerns it
	replication *link          // from the standby to the primary
	url         string         // through direct
	db          *sql.DB        // through direct
}

// newDatabase starts both servers and migrates the ledger.
func (w *world) newDatabase() *database {
	w.Helper()
	d := &database{w: w, primary: testenv.NewPostgresServer(w)}
	d.primary.Exec(`CREATE DATABASE points`)
	d.direct = testenv.NewProxy(w, d.primary.Addr())
	d.url = pointsURL(d.direct.Addr())
	d.replication = w.newLink("standby to primary", d.primary.Addr())
	d.standby = d.primary.NewStandby(d.replication.proxy.Addr())
	d.primary.RequireStandby()
	var err error
	d.db, err = sql.Open("postgres", d.url)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = d.db.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	output, err := exec.CommandContext(ctx, filepath.Join(programs, "core"), "migrate", "up", "--database-url", d.url).CombinedOutput()
	if err != nil {
		w.Fatalf("core migrate up: %v\n%s", err, output)
	}
	return d
}

// pointsURL returns the URL of the ledger's database at an address.
func pointsURL(address string) string {
	return "postgres://postgres@" + address + "/points?sslmode=disable"
}

// promote makes the standby the primary after the end of the primary's machine, and leads the cores to
// it. The old primary waits for rebuild.
func (d *database) promote() (old *testenv.PostgresServer) {
	old = d.primary
	old.Crash()
	d.standby.Promote()
	d.primary = d.standby
	d.standby = nil
	d.direct.SetTarget(d.primary.Addr())
	for _, l := range d.w.linksOf("to postgres") {
		l.proxy.SetTarget(d.primary.Addr())
	}
	return old
}

// rebuild makes the old primary the synchronous standby of the new one.
func (d *database) rebuild(old *testenv.PostgresServer) {
	d.replication.proxy.SetTarget(d.primary.Addr())
	old.Rebuild(d.replication.proxy.Addr())
	d.primary.RequireStandby()
	d.standby = old
}

// databaseFaults are the faults of Postgres and its standby.
func databaseFaults() []*faultKind {
	const second = time.Second
	return []*faultKind{
		{name: "end connections of Postgres", isSmall: true, plan: func(e *episode, _ *rand.Rand) fault {
			return fault{target: "postgres", inject: e.endBackends}
		}},
		{name: "crash Postgres", maxHold: second, plan: func(e *episode, _ *rand.Rand) fault {
			d := e.w.database
			return fault{target: "postgres", inject: func() { d.primary.Crash() }, heal: func() { d.primary.Start() }}
		}},
		{name: "restart Postgres", maxHold: second, plan: func(e *episode, _ *rand.Rand) fault {
			d := e.w.database
			return fault{target: "postgres", inject: func() { d.primary.Stop() }, heal: func() { d.primary.Start() }}
		}},
		{name: "suspend Postgres", minHold: second / 10, maxHold: 3 * second, plan: func(e *episode, _ *rand.Rand) fault {
			d := e.w.database
			return fault{target: "postgres", inject: func() { d.primary.Suspend() }, heal: func() { d.primary.Continue() }}
		}},
		{name: "Postgres read-only", minHold: second / 2, maxHold: 2 * second, plan: func(e *episode, _ *rand.Rand) fault {
			set := func(value string) func() {
				return func() {
					e.w.database.primary.Exec(`ALTER SYSTEM SET default_transaction_read_only = ` + value)
					e.w.database.primary.Exec(`SELECT pg_reload_conf()`)
				}
			}
			return fault{target: "postgres", inject: set("on"), heal: set("off")}
		}},
		{name: "lock a table", minHold: second / 5, maxHold: 3 * second, plan: func(e *episode, r *rand.Rand) fault {
			return e.lockFault(ledgerTables[r.IntN(len(ledgerTables))])
		}},
		// Sessions cannot use what they have prepared for the table any more.
		{name: "alter a table", plan: func(e *episode, r *rand.Rand) fault {
			statement := fmt.Sprintf(`ALTER TABLE wallets ALTER COLUMN account TYPE varchar(%d)`, 500+r.IntN(500))
			return fault{target: "postgres", inject: func() { e.execStatement(statement) }}
		}},
		{name: "promote the standby", plan: func(e *episode, _ *rand.Rand) fault {
			var old *testenv.PostgresServer
			inject := func() { old = e.w.database.promote() }
			return fault{target: "postgres", inject: inject, restore: func() { e.w.database.rebuild(old) }}
		}},
		{name: "crash the standby", minHold: second / 2, maxHold: 3 * second, plan: func(e *episode, _ *rand.Rand) fault {
			return e.standbyFault(func(s *testenv.PostgresServer) { s.Crash() }, func(s *testenv.PostgresServer) { s.Start() })
		}},
		{name: "suspend the standby", minHold: second / 2, maxHold: 3 * second, plan: func(e *episode, _ *rand.Rand) fault {
			return e.standbyFault(func(s *testenv.PostgresServer) { s.Suspend() }, func(s *testenv.PostgresServer) { s.Continue() })
		}},
		{name: "cut the standby off", minHold: second / 2, maxHold: 4 * second, plan: func(e *episode, _ *rand.Rand) fault {
			l := e.w.database.replication
			return partitionFault(l.name, l)
		}},
		// This is longer than a core waits for a commit.
		{name: "cut the standby off for 13 s, then promote it", minHold: 13 * second, plan: func(e *episode, _ *rand.Rand) fault {
			var old *testenv.PostgresServer
			d := e.w.database
			f := partitionFault("postgres", d.replication)
			f.heal = func() { old = d.promote() }
			f.restore = func() {
				d.replication.proxy.Refuse(false)
				d.rebuild(old)
			}
			return f
		}},
	}
}

// standbyFault is a fault of the standby. It does nothing while there is none. It has the target of
// the primary, because a standby that is down cannot be promoted.
func (e *episode) standbyFault(inject, heal func(*testenv.PostgresServer)) fault {
	var s *testenv.PostgresServer
	begin := func() {
		s = e.w.database.standby
		if s != nil {
			inject(s)
		}
	}
	end := func() {
		if s != nil {
			heal(s)
		}
	}
	return fault{target: "postgres", inject: begin, heal: end}
}

// ledgerTables are the tables that writes use.
var ledgerTables = []string{
	"entries", "escrow_expiries", "escrows", "idempotency_keys", "journal", "outbox", "transactions", "wallets",
}

// lockFault locks a table for a time, as a change of the table does.
func (e *episode) lockFault(table string) fault {
	end := func() {}
	begin := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		tx, err := e.w.database.db.BeginTx(ctx, nil)
		if err != nil {
			cancel()
			e.w.journal.note("begin to lock %s: %v", table, err)
			return
		}
		end = func() {
			_ = tx.Rollback()
			cancel()
		}
		_, err = tx.ExecContext(ctx, `SET LOCAL lock_timeout = '2s'; LOCK TABLE `+table)
		if err != nil {
			e.w.journal.note("lock %s: %v", table, err)
		}
	}
	return fault{target: "postgres", inject: begin, heal: func() { end() }}
}

// endBackends ends all connections to the ledger's database.
func (e *episode) endBackends() {
	e.execStatement(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
}

// execStatement runs a statement on the primary. Under other faults it may fail.
func (e *episode) execStatement(statement string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := e.w.database.db.ExecContext(ctx, statement)
	if err != nil {
		e.w.journal.note("%s: %v", statement, err)
	}
}
