package wallet

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// roleWorld is a ledger whose endpoint is a proxy, as that of a managed Postgres.
type roleWorld struct {
	*testing.T
	ledger  *Ledger
	primary *testenv.PostgresServer
	proxy   *testenv.Proxy
	url     string // through the proxy
	keys    int
}

func newRoleWorld(t *testing.T) *roleWorld {
	t.Helper()
	primary := testenv.NewPostgresServer(t)
	err := migrateDatabase(t.Context(), primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, primary.Addr())
	u, err := url.Parse(primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = proxy.Addr()
	l, err := Open(t.Context(), u.String(), Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	runUntilCleanup(t, l)
	return &roleWorld{
		T:       t,
		ledger:  l,
		primary: primary,
		proxy:   proxy,
		url:     u.String(),
	}
}

// credit does a credit of one point with a new key.
func (w *roleWorld) credit() error {
	w.keys++
	_, err := w.ledger.Do(w.Context(), newCredit("user:u", 1, fmt.Sprint("key", w.keys)))
	return err
}

// waitForCredit does credits until one succeeds, and returns how long that took.
func (w *roleWorld) waitForCredit() time.Duration {
	w.Helper()
	start := time.Now()
	for err := w.credit(); err != nil; err = w.credit() {
		if !errors.Is(err, ErrUnavailable) {
			w.Fatal(err)
		}
		if time.Since(start) > 2*time.Minute {
			w.Fatalf("no credit within two minutes: %v", err)
		}
	}
	return time.Since(start)
}

// TestSettingsOfTheDatabaseAreOverridden has settings of the database that would end or change the
// ledger's sessions. A write must not end because its client has gone, since it may wait for a standby.
// Idle sessions must not end either, because that looks like an outage.
func TestSettingsOfTheDatabaseAreOverridden(t *testing.T) {
	t.Parallel()
	databaseURL := newPostgresDatabase(t)
	db := openTestDatabase(t, databaseURL)
	name := nameDatabase(t, databaseURL)
	mustExec(t, db, `ALTER DATABASE `+name+` SET client_connection_check_interval = 100`)
	mustExec(t, db, `ALTER DATABASE `+name+` SET idle_session_timeout = '1min'`)
	mustExec(t, db, `ALTER DATABASE `+name+` SET default_transaction_isolation = serializable`)
	s, err := openPostgres(t.Context(), databaseURL, Config{MaxConns: 1, MaxReadConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	for pool, want := range map[*sqlStore]string{
		&s.sqlStore: "0, 0, read committed",
		&s.reads:    "500ms, 0, read committed",
		&s.health:   "0, 0, read committed",
	} {
		var got string
		err = pool.db.GetContext(t.Context(), &got, `SELECT concat_ws(', ', current_setting('client_connection_check_interval'),
			current_setting('idle_session_timeout'), current_setting('transaction_isolation'))`)
		checkError(t, "read the settings", err, nil)
		checkEqual(t, "settings", got, want)
	}
}

// TestReadOnlyDatabaseIsNotWritten freezes the database, as for a cutover or by a provider's disk
// guard. Nothing is written, by no way. Reads are answered, and writes go on when the freeze ends.
func TestReadOnlyDatabaseIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newRoleWorld(t)
	checkError(t, "credit before", w.credit(), nil)
	w.primary.Exec(`ALTER SYSTEM SET default_transaction_read_only = on`)
	w.primary.Exec(`SELECT pg_reload_conf()`)

	start := time.Now()
	for range 20 { // the setting arrives at each session a bit later
		err := w.credit()
		if errors.Is(err, ErrUnavailable) {
			break
		}
		checkError(t, "credit until the sessions know the setting", err, nil)
	}
	for range 2 {
		checkError(t, "credit of a read-only database", w.credit(), ErrUnavailable)
	}
	rows, err := w.ledger.store.sharedQueries().db.ExecContext(t.Context(), `DELETE FROM outbox`)
	if err == nil {
		t.Errorf("delete from the outbox of a read-only database: got %v, want an error", rows)
	}
	waitForPing(t, w.ledger, "read-only")
	_, err = w.ledger.Balance(t.Context(), "user:u")
	checkError(t, "balance of a read-only database", err, nil)
	t.Logf("refused after %v", time.Since(start))

	w.primary.Exec(`ALTER SYSTEM RESET default_transaction_read_only`)
	w.primary.Exec(`SELECT pg_reload_conf()`)
	if took := w.waitForCredit(); took > time.Minute {
		t.Errorf("credit after the freeze: got it after %v, want within a minute", took)
	}
	waitForPing(t, w.ledger, "")
	checkLedger(t, w.ledger)
}

// TestStandbyIsNotUsed points the endpoint at the standby while the connections are opened again, and
// then back. Not even reads use the standby.
func TestStandbyIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newRoleWorld(t)
	standby := w.primary.NewStandby(w.primary.Addr())
	checkError(t, "credit before", w.credit(), nil)

	w.proxy.SetTarget(standby.Addr())
	w.proxy.Cut()
	checkError(t, "credit on a standby", w.credit(), ErrUnavailable)
	_, err := w.ledger.Balance(t.Context(), "user:u")
	checkError(t, "balance on a standby", err, ErrUnavailable)
	err = w.ledger.store.readQueries().db.GetContext(t.Context(), new(int), `SELECT 1`)
	checkError(t, "query of the connections of reads on a standby", err, pgconn.ErrStandby)
	waitForPing(t, w.ledger, "standby")
	_, err = Open(t.Context(), w.url, Config{})
	if err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("open a ledger on a standby: got %v, want an error that says so", err)
	}

	reader, err := Open(t.Context(), standby.URL("postgres"), Config{OnlyRead: true})
	if err != nil {
		t.Fatal(err)
	}
	checkLedger(t, reader)
	checkError(t, "close the reader", reader.Close(), nil)

	w.proxy.SetTarget(w.primary.Addr())
	w.proxy.Cut()
	if took := w.waitForCredit(); took > time.Minute {
		t.Errorf("credit after the endpoint's return: got it after %v, want within a minute", took)
	}
	_, err = w.ledger.Balance(t.Context(), "user:u")
	checkError(t, "balance after the endpoint's return", err, nil)
	waitForPing(t, w.ledger, "")

	// With both hosts in the URL, the primary is found.
	both := strings.Replace(w.primary.URL("postgres"), w.primary.Addr(), standby.Addr()+","+w.primary.Addr(), 1)
	l, err := Open(t.Context(), both, Config{})
	if err != nil {
		t.Fatal(err)
	}
	runUntilCleanup(t, l)
	_, err = l.Do(t.Context(), newCredit("user:u", 1, "both"))
	checkError(t, "credit with both hosts in the URL", err, nil)
}
