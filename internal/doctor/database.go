package doctor

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// DatabaseConfig describes the database of a core, and how the core uses it.
type DatabaseConfig struct {
	URL      string
	Keys     bus.Keys // of the core's events
	MaxConns int      // connections of one core, of all pools
	Cores    int      // cores that run at the same time

	IsUnverified bool // the connection leaves this machine and does not verify the server
}

// Database returns the checks of the ledger's database.
func Database(cfg DatabaseConfig) Area {
	return Area{name: "database", run: func(ctx context.Context, c *collector) {
		d := &database{collector: c, cfg: cfg}
		d.check(ctx)
	}}
}

type database struct {
	*collector
	cfg   DatabaseConfig
	found *wallet.Inspection
}

func (d *database) check(ctx context.Context) {
	err := wallet.CheckURL(d.cfg.URL)
	if err != nil {
		d.fail("url", advice{"correct --database-url", "postgres.md#the-url"}, "%v", err)
		return
	}

	start := time.Now()
	d.found, err = wallet.Inspect(ctx, d.cfg.URL)
	switch {
	case errors.Is(err, wallet.ErrNoFile):
		d.fail("reachable", migrateAdvice, "%v", err)
		return
	case err != nil:
		d.fail("reachable", advice{
			"the server must run, accept this machine (pg_hba.conf, firewall) and know the user and the database",
			"doctor.md#database",
		}, "%v", err)
		return
	}
	if d.found.IsSQLite {
		d.ok("reachable", "SQLite %s, %s", d.found.Version, d.found.Host)
		d.checkSchema(ctx)
		d.checkLayout()
		return
	}

	d.ok("reachable", "Postgres %s at %s, database %s, role %s, in %s",
		d.found.Version, d.found.Host, d.found.Database, d.found.Role, roundUp(time.Since(start)))
	d.checkVerification()
	d.checkPrimary()
	d.checkSchema(ctx)
	d.checkCoreRights()
	d.checkMigrationRights()
	d.checkDurability()
	d.checkStatementTimeout()
	d.checkConnections()
	d.checkVacuum()
	d.compareClock(d.found.ClockLead, d.found.RoundTrip)
	d.checkLayout()
}

func (d *database) checkVerification() {
	if d.cfg.IsUnverified {
		d.warn("tls", advice{"add sslmode=verify-full to --database-url", "postgres.md#the-url"},
			"the connection does not verify the server, so anybody on the way can read and change the ledger")
		return
	}
	d.ok("tls", "the connection verifies the server, or stays on this machine")
}

func (d *database) checkPrimary() {
	switch {
	case d.found.IsStandby:
		d.fail("primary", advice{
			"--database-url must lead to the primary; the core does not read from a standby",
			"postgres.md#the-server-must-be-a-primary-that-can-be-written",
		}, "the server is a standby")
	case d.found.ReadOnly:
		d.fail("primary", advice{
			"set default_transaction_read_only to off for the server, the database and the role, once the cause is gone (a cutover, a full disk)",
			"postgres.md#the-server-must-be-a-primary-that-can-be-written",
		}, "default_transaction_read_only is on, so writes are refused")
	default:
		d.ok("primary", "a primary that can be written")
	}
}

var migrateAdvice = advice{"run core migrate up with the same --database-url", "ledger-scale.md#migrations"}

// checkSchema makes the checks of the start of a core: version and encoding of the server, sessions
// behind a pooler, tables and migrations.
func (d *database) checkSchema(ctx context.Context) {
	migrations, err := wallet.Migrations(ctx, d.cfg.URL)
	switch {
	case errors.Is(err, wallet.ErrUnsuitableDatabase):
		d.fail("schema", advice{docs: "ledger-scale.md#versions-of-postgres"}, "%v", err) // the error says what to do
		return
	case err != nil:
		d.fail("schema", advice{docs: "postgres.md#connection-poolers"}, "%v", err)
		return
	}

	var missing []string
	for _, migration := range migrations {
		if migration.AppliedAt.IsZero() {
			missing = append(missing, migration.Name)
		}
	}
	if len(missing) > 0 {
		d.fail("schema", migrateAdvice, "%d of %d migrations were not applied: %s",
			len(missing), len(migrations), strings.Join(missing, ", "))
		return
	}
	d.ok("schema", "current, %d migrations", len(migrations))
}

func (d *database) checkCoreRights() {
	rights := advice{
		"let the owner of the tables run the GRANT statements of the page",
		"postgres.md#rights",
	}
	switch {
	case d.found.Schema == "":
		d.fail("rights", rights, "the role %s may use no schema of its search_path", d.found.Role)
	case len(d.found.Tables) == 0:
		d.skip("rights", "the database has no tables yet")
	case len(d.found.MissingRights) > 0:
		d.fail("rights", rights, "the role %s lacks %s", d.found.Role, strings.Join(d.found.MissingRights, ", "))
	default:
		d.ok("rights", "the role %s has the rights that core serve needs", d.found.Role)
	}
}

// checkMigrationRights is no failure if another role migrates.
func (d *database) checkMigrationRights() {
	switch {
	case d.found.CanMigrate:
		d.ok("migration-rights", "the role %s may migrate", d.found.Role)
	case len(d.found.Tables) == 0:
		d.fail("migration-rights", advice{
			"GRANT CREATE ON SCHEMA to the role, or run core migrate up as another role",
			"postgres.md#rights",
		}, "the role %s may not create tables in the schema %q", d.found.Role, d.found.Schema)
	default:
		d.ok("migration-rights", "the role %s may not migrate; run core migrate up as the owner of the tables", d.found.Role)
	}
}

func (d *database) checkLayout() {
	found := d.found.Layout
	switch {
	case d.found.LayoutProblem != nil:
		d.fail("layout", advice{docs: "doctor.md#database"}, "the layout of the events cannot be read: %v", d.found.LayoutProblem)
	case found == (bus.Keys{}):
		d.ok("layout", "none yet; the first core stores %s (namespace/partitions)", d.cfg.Keys)
	case found != d.cfg.Keys:
		d.fail("layout", layoutAdvice, "the ledger publishes under %s (namespace/partitions), the flags say %s", found, d.cfg.Keys)
	default:
		d.ok("layout", "%s (namespace/partitions)", found)
	}
}

var layoutAdvice = advice{
	"give the same --namespace and --partitions to all cores, gateways and consumers",
	"doctor.md#layout",
}
