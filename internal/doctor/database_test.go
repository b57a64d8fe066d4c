package doctor_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/redroomrewards/realtime/internal/doctor"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/realtime"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// testTimeout bounds every wait of a test.
const testTimeout = 2 * time.Minute

// database is a Postgres database of one test.
type database struct {
	*testing.T
	url  *url.URL
	name string
	db   *sql.DB
	role string // set by addRole
}

func newDatabase(t *testing.T, rawURL string) *database {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("postgres", rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d := &database{T: t, url: u, name: strings.TrimPrefix(u.Path, "/"), db: db}
	d.setParameter("synchronous_commit", "on") // the server of the tests has it off
	d.setParameter("connect_timeout", "60")    // the machine may be slow
	return d
}

func (d *database) setParameter(name, value string) {
	q := d.url.Query()
	q.Set(name, value)
	d.url.RawQuery = q.Encode()
}

// exec executes a statement. {db} in it is the name of the database, and {role} that of the role.
func (d *database) exec(statement string) {
	d.Helper()
	statement = d.replaceNames(statement)
	_, err := d.db.ExecContext(context.WithoutCancel(d.Context()), statement)
	if err != nil {
		d.Fatalf("%s: %v", statement, err)
	}
}

func (d *database) replaceNames(statement string) string {
	return strings.NewReplacer("{db}", d.name, "{role}", d.role).Replace(statement)
}

// query returns the text that a query selects, with the names of exec.
func (d *database) query(query string) string {
	d.Helper()
	var text string
	err := d.db.QueryRowContext(d.Context(), d.replaceNames(query)).Scan(&text)
	if err != nil {
		d.Fatalf("%s: %v", query, err)
	}
	return text
}

// addRole makes a role without rights, and a URL with it.
func (d *database) addRole() {
	d.Helper()
	d.role = "doctor_" + d.name
	d.exec(`CREATE ROLE {role} LOGIN PASSWORD 'x'`)
	d.Cleanup(func() { d.exec(`DROP OWNED BY {role}; DROP ROLE {role}`) })
	d.url.User = url.UserPassword(d.role, "x")
}

// grantRights executes the statements of docs/postgres.md.
func (d *database) grantRights() {
	d.Helper()
	page, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		d.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```sql\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		d.Fatal("docs/postgres.md must have a block ```sql")
	}
	// The test has the database and the schema.
	block = strings.NewReplacer("DATABASE points", "DATABASE {db}", "TO core;", "TO {role};").Replace(block)
	d.exec(block)
}

func (d *database) config() doctor.DatabaseConfig {
	return doctor.DatabaseConfig{
		URL:      d.url.String(),
		Keys:     bus.Keys{}.WithDefaults(),
		MaxConns: 19,
		Cores:    1,
	}
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	sharedURL := ledgerdb.Postgres(t)
	for _, tc := range []struct {
		name  string
		own   bool // setUp changes the database
		setUp func(d *database, cfg *doctor.DatabaseConfig)
		want  finding
	}{
		{"current", false, nil, finding{doctor.OK, "database/schema", "current"}},
		{"primary", false, nil, finding{doctor.OK, "database/primary", "can be written"}},
		{"malformed URL", false, func(_ *database, cfg *doctor.DatabaseConfig) {
			cfg.URL = "mysql://host/x"
		}, finding{doctor.Fail, "database/url", "must be postgres://"}},
		{"nothing listens", false, func(_ *database, cfg *doctor.DatabaseConfig) {
			cfg.URL = "postgres://core@127.0.0.1:1/points"
		}, finding{doctor.Fail, "database/reachable", "refused"}},
		{"no TLS", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.setParameter("sslmode", "require")
		}, finding{doctor.Fail, "database/reachable", "add sslmode=disable"}},
		{"unknown database", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.url.Path = "/nobody_has_this"
		}, finding{doctor.Fail, "database/reachable", "does not exist"}},
		{"no SQLite file", false, func(_ *database, cfg *doctor.DatabaseConfig) {
			cfg.URL = "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
		}, finding{doctor.Fail, "database/reachable", "no such file"}},
		{"server not verified", false, func(_ *database, cfg *doctor.DatabaseConfig) {
			cfg.IsUnverified = true
		}, finding{doctor.Warn, "database/tls", "does not verify"}},
		{"old migrations", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`DELETE FROM realtime_migrations WHERE version_id >= 4`)
		}, finding{doctor.Fail, "database/schema", "were not applied: 00004"}},
		{"a table was dropped", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`DROP TABLE outbox`)
		}, finding{doctor.Fail, "database/schema", "outbox"}},
		{"read-only", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`ALTER DATABASE {db} SET default_transaction_read_only = on`)
		}, finding{doctor.Fail, "database/primary", "default_transaction_read_only is on"}},
		{"synchronous_commit", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.setParameter("synchronous_commit", "off")
		}, finding{doctor.Fail, "database/durability", "synchronous_commit is off"}},
		{"no statement_timeout", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.setParameter("statement_timeout", "0")
		}, finding{doctor.Warn, "database/statement-timeout", "statement_timeout is 0"}},
		{"short statement_timeout", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.setParameter("statement_timeout", "1500")
		}, finding{doctor.Warn, "database/statement-timeout", "1.5s"}},
		{"too many cores", false, func(_ *database, cfg *doctor.DatabaseConfig) {
			cfg.Cores = 1000
		}, finding{doctor.Fail, "database/connections", "max_connections (without the reserved ones) allows"}},
		{"limit of the database", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`ALTER DATABASE {db} CONNECTION LIMIT 10`)
		}, finding{doctor.Fail, "database/connections", "LIMIT of the database allows 10"}},
		{"limit of the role", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.addRole()
			d.exec(`ALTER ROLE {role} CONNECTION LIMIT 9`)
		}, finding{doctor.Fail, "database/connections", "LIMIT of the role allows 9"}},
		{"no autovacuum", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`ALTER TABLE outbox SET (autovacuum_enabled = off)`)
		}, finding{doctor.Fail, "database/autovacuum", "off for outbox"}},
		{"no statistics", false, func(d *database, _ *doctor.DatabaseConfig) {
			d.setParameter("track_counts", "off")
		}, finding{doctor.Fail, "database/autovacuum", "track_counts is off"}},
		{"no layout", false, nil, finding{doctor.OK, "database/layout", "stores rt/64"}},
		{"same layout", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`INSERT INTO layout VALUES (true, 'rt', 64)`)
		}, finding{doctor.OK, "database/layout", "rt/64"}},
		{"other layout", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.exec(`INSERT INTO layout VALUES (true, 'rt', 8)`)
		}, finding{doctor.Fail, "database/layout", "under rt/8 (namespace/partitions), the flags say rt/64"}},
		{"no rights", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.addRole()
		}, finding{doctor.Fail, "database/rights", "INSERT on entries"}},
		{"no schema", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.addRole()
			d.exec(`REVOKE USAGE ON SCHEMA public FROM PUBLIC`)
		}, finding{doctor.Fail, "database/rights", "no schema"}},
		{"another role migrates", true, func(d *database, _ *doctor.DatabaseConfig) {
			d.addRole()
		}, finding{doctor.OK, "database/migration-rights", "may not migrate"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rawURL := sharedURL
			if tc.own {
				rawURL = ledgerdb.Postgres(t)
			}
			d := newDatabase(t, rawURL)
			cfg := d.config()
			cfg.URL = ""
			if tc.setUp != nil {
				tc.setUp(d, &cfg)
			}
			if cfg.URL == "" {
				cfg.URL = d.url.String()
			}
			results := runArea(t, doctor.Database(cfg))
			tc.want.expect(t, results)
			if tc.want.status == doctor.OK && d.role == "" {
				expectOnly(t, results)
			}
		})
	}
}

func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, testenv.Postgres(t, testenv.Schema{}))
	results := runArea(t, doctor.Database(d.config()))
	finding{doctor.Fail, "database/schema", "migrations were not applied: 00001"}.expect(t, results)
	finding{doctor.OK, "database/migration-rights", "may migrate"}.expect(t, results)

	d.addRole()
	results = runArea(t, doctor.Database(d.config()))
	finding{doctor.Fail, "database/migration-rights", "may not create tables"}.expect(t, results)
}

func TestDatabaseWithOtherEncoding(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, testenv.Postgres(t, testenv.Schema{}))
	other := *d
	other.name = d.name + "_latin"
	d.exec(`CREATE DATABASE ` + other.name + ` ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	t.Cleanup(func() { d.exec(`DROP DATABASE ` + other.name + ` WITH (FORCE)`) })
	d.url.Path = "/" + other.name
	results := runArea(t, doctor.Database(d.config()))
	finding{doctor.Fail, "database/schema", "its encoding is LATIN1"}.expect(t, results)
}

// The clocks of a primary and of its standby differ from this machine's.
func TestStandbyDatabase(t *testing.T) {
	t.Parallel()
	primary := testenv.NewPostgresServer(t)
	primary.ShiftClock(-12 * time.Second)
	results := runArea(t, doctor.Database(configOf(primary)))
	finding{doctor.OK, "database/primary", "can be written"}.expect(t, results)
	finding{doctor.Warn, "database/clock", "behind this machine's"}.expect(t, results)

	standby := primary.NewStandby(primary.Addr())
	standby.ShiftClock(12 * time.Minute)
	results = runArea(t, doctor.Database(configOf(standby)))
	finding{doctor.Fail, "database/primary", "a standby"}.expect(t, results)
	finding{doctor.Fail, "database/clock", "ahead of this machine's, more than the 30s"}.expect(t, results)
}

func configOf(server *testenv.PostgresServer) doctor.DatabaseConfig {
	return doctor.DatabaseConfig{
		URL:      server.URL("postgres") + "&connect_timeout=60", // the machine may be slow
		Keys:     bus.Keys{}.WithDefaults(),
		MaxConns: 19,
		Cores:    1,
	}
}

// A pooler gives each connection a session of its own, or lets several share one.
func TestDatabaseBehindPooler(t *testing.T) {
	t.Parallel()
	direct := ledgerdb.Postgres(t)
	for mode, want := range map[string]finding{
		"session":     {doctor.OK, "database/schema", "current"},
		"transaction": {doctor.Fail, "database/schema", "session mode"},
		"statement":   {doctor.Fail, "database/schema", "session mode"},
	} {
		t.Run(mode, func(t *testing.T) {
			d := newDatabase(t, testenv.Pooler(t, direct, mode))
			results := runArea(t, doctor.Database(d.config()))
			want.expect(t, results)
			expectOnly(t, results, "database/schema")
		})
	}
}

func TestSQLiteDatabase(t *testing.T) {
	t.Parallel()
	cfg := doctor.DatabaseConfig{URL: wallettest.SQLite(t), Keys: bus.Keys{}.WithDefaults()}
	results := runArea(t, doctor.Database(cfg))
	finding{doctor.OK, "database/schema", "current"}.expect(t, results)
	expectOnly(t, results)
}

// A core works with exactly the rights of docs/postgres.md. Without any of them the check fails.
func TestRightsOfTheRole(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, ledgerdb.Postgres(t))
	d.addRole()
	d.grantRights()
	results := runArea(t, doctor.Database(d.config()))
	expectOnly(t, results)
	finding{doctor.OK, "database/rights", "that core serve needs"}.expect(t, results)
	d.runCore()

	rights := d.listRights()
	without := d.query(`SELECT coalesce(string_agg(tablename, ', '), '') FROM pg_tables WHERE schemaname = 'public'
		AND NOT has_table_privilege('{role}', format('%I.%I', schemaname, tablename), 'SELECT')`)
	if without != "" {
		t.Fatalf("docs/postgres.md gives no rights on %s", without)
	}
	for _, right := range rights {
		table, privilege := right[0], right[1]
		d.exec(`REVOKE ` + privilege + ` ON ` + table + ` FROM {role}`)
		results := runArea(t, doctor.Database(d.config()))
		finding{doctor.Fail, "database/rights", privilege + " on " + table}.expect(t, results)
		d.exec(`GRANT ` + privilege + ` ON ` + table + ` TO {role}`)
	}
}

// listRights returns tables and the rights of the role on them.
func (d *database) listRights() [][2]string {
	d.Helper()
	list := d.query(`SELECT string_agg(table_name || ' ' || privilege_type, ',')
		FROM information_schema.role_table_grants WHERE grantee = '{role}'`)
	var rights [][2]string
	for text := range strings.SplitSeq(list, ",") {
		table, right, _ := strings.Cut(text, " ")
		rights = append(rights, [2]string{table, right})
	}
	return rights
}

// runCore runs a core that does and publishes each kind of operation.
func (d *database) runCore() {
	d.Helper()
	redisURL, namespace := testenv.Redis(d.T)
	core, err := realtime.Open(d.Context(), realtime.Config{
		Database: d.url.String(),
		RedisURL: redisURL,
		Keys:     bus.Keys{Namespace: namespace, Partitions: 2},
	})
	if err != nil {
		d.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	ran := make(chan error, 1)
	go func() { ran <- core.Run(ctx) }()

	keys := 0
	do := func(op wallet.Op) wallet.Receipt {
		d.Helper()
		keys++
		op.IdempotencyKey = fmt.Sprint("key-", keys)
		op.Reason = "test"
		receipt, err := core.Ledger.Do(ctx, op)
		if err != nil {
			d.Errorf("%s: %v", op.Operation, err)
		}
		return receipt
	}
	hold := func() wallet.Receipt {
		return do(wallet.Op{Operation: wallet.OpHold, Account: "user:u", Amount: 10, QueueItemID: "q", FeatureType: "f"})
	}
	do(wallet.Op{Operation: wallet.OpCredit, Account: "user:u", Amount: 100})
	do(wallet.Op{Operation: wallet.OpSettle, EscrowID: hold().EscrowID, Model: "model:m", Amount: 10, QueueItemID: "q"})
	do(wallet.Op{Operation: wallet.OpRefund, EscrowID: hold().EscrowID, Amount: 10, QueueItemID: "q"})
	do(wallet.Op{Operation: wallet.OpDebit, Account: "user:u", Amount: 10})

	page, err := core.Ledger.AllEvents(ctx, wallet.EventQuery{})
	if err != nil || len(page.Events) == 0 {
		d.Errorf("all events: got %d and %v, want some", len(page.Events), err)
	}
	for waiting := 1; waiting > 0 && ctx.Err() == nil; {
		err := d.db.QueryRowContext(ctx, `SELECT count(*) FROM outbox`).Scan(&waiting)
		if err != nil {
			d.Error(err)
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	err = <-ran
	if err != nil {
		d.Error(err)
	}
	err = core.Close()
	if err != nil {
		d.Error(err)
	}
}
