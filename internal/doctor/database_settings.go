package doctor

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkDurability checks that an answered commit is on a disk.
func (d *database) checkDurability() {
	durability := "failures.md#a-synchronous-standby-of-postgres"
	commit := d.found.Settings["synchronous_commit"]
	standbys := d.found.Settings["synchronous_standby_names"]
	switch {
	case commit == "off":
		d.fail("durability", advice{"set synchronous_commit to on", durability},
			"synchronous_commit is off, so a crash of the server loses operations that were answered")
	case d.found.Settings["fsync"] == "off":
		d.warn("durability", advice{"set fsync to on", durability},
			"fsync is off, so a power failure can destroy the database")
	case d.found.Settings["full_page_writes"] == "off":
		d.warn("durability", advice{"set full_page_writes to on, unless the file system writes whole pages", durability},
			"full_page_writes is off, so a power failure can destroy pages")
	case standbys != "" && commit != "on" && commit != "remote_apply":
		d.warn("durability", advice{"set synchronous_commit to on", durability},
			"synchronous_commit is %s, so commits do not wait for the disk of the standby %s", commit, standbys)
	case standbys == "":
		d.ok("durability", "synchronous_commit is %s; no synchronous standby", commit)
	default:
		d.ok("durability", "synchronous_commit is %s, with the standbys %s", commit, standbys)
	}
}

// A commit usually takes milliseconds, and seconds after a failover or a checkpoint.
const leastStatementTimeout = 2 * time.Second

// checkStatementTimeout checks the limit that is in force on the connections of a core. The core sets
// its own, and the URL overrides that.
func (d *database) checkStatementTimeout() {
	timeouts := "postgres.md#time-limits"
	milliseconds, err := strconv.Atoi(d.found.Settings["statement_timeout"])
	limit := time.Duration(milliseconds) * time.Millisecond
	switch {
	case err != nil:
		d.skip("statement-timeout", "the server does not have this setting")
	case limit == 0:
		d.warn("statement-timeout", advice{"remove statement_timeout from --database-url", timeouts},
			"statement_timeout is 0, so a slow statement is not ended by the server")
	case limit < leastStatementTimeout:
		d.warn("statement-timeout", advice{"remove statement_timeout from --database-url", timeouts},
			"statement_timeout is %s, so commits fail while the database is slow for a moment", limit)
	default:
		d.ok("statement-timeout", "%s", limit)
	}
}

// checkConnections checks that the server has room for the connections of all cores.
func (d *database) checkConnections() {
	need := d.cfg.MaxConns * d.cfg.Cores
	limit, name := d.connectionLimit()
	others := max(d.found.Connections-d.found.LedgerConnections, 0)
	room := limit - others
	switch {
	case limit < need:
		d.fail("connections", advice{
			"raise it, or lower --db-connections and --db-read-connections",
			"ledger-scale.md#connections-and-timeouts",
		}, "%s allows %d connections, and the cores may open %d", name, limit, need)
	case room < need:
		d.warn("connections", advice{
			"raise it, or lower --db-connections and --db-read-connections",
			"ledger-scale.md#connections-and-timeouts",
		}, "%s allows %d connections, others use %d now, and the cores may open %d", name, limit, others, need)
	default:
		d.ok("connections", "room for %d connections, and the cores may open %d", room, need)
	}
}

// connectionLimit returns the smallest limit for the connections of cores, and its name.
func (d *database) connectionLimit() (limit int, name string) {
	limit = d.number("max_connections") - d.number("superuser_reserved_connections") - d.number("reserved_connections")
	name = "max_connections (without the reserved ones)"
	if d.found.RoleLimit >= 0 && d.found.RoleLimit < limit {
		limit = d.found.RoleLimit
		name = "the CONNECTION LIMIT of the role"
	}
	if d.found.DatabaseLimit >= 0 && d.found.DatabaseLimit < limit {
		limit = d.found.DatabaseLimit
		name = "the CONNECTION LIMIT of the database"
	}
	return limit, name
}

// number returns a setting that is a number, or 0.
func (d *database) number(setting string) int {
	n, _ := strconv.Atoi(d.found.Settings[setting])
	return n
}

// checkVacuum checks that the server removes old versions of rows. Without it the tables of wallets
// and of the outbox grow with each operation.
func (d *database) checkVacuum() {
	off := slices.DeleteFunc([]string{"autovacuum", "track_counts"}, func(setting string) bool {
		return d.found.Settings[setting] != "off"
	})
	switch {
	case len(off) > 0:
		d.fail("autovacuum", advice{"set " + strings.Join(off, " and ") + " to on", "ledger-scale.md#automatic-maintenance"},
			"%s is off, so tables grow with each operation and become slow", strings.Join(off, " and "))
	case len(d.found.WithoutVacuum) > 0:
		tables := strings.Join(d.found.WithoutVacuum, ", ")
		d.fail("autovacuum", advice{"ALTER TABLE … RESET (autovacuum_enabled)", "ledger-scale.md#automatic-maintenance"},
			"autovacuum is off for %s", tables)
	default:
		d.ok("autovacuum", "on")
	}
}
