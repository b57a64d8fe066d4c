package chaos

import (
	"math/rand/v2"
	"time"
)

// backUp copies the ledger's database beside itself. Postgres copies a database only while nobody uses
// it, so all connections end for a moment.
func (d *database) backUp() bool {
	return d.retry("DROP DATABASE IF EXISTS points_backup WITH (FORCE)") &&
		d.withoutConnections("points", `CREATE DATABASE points_backup TEMPLATE points`) &&
		d.retry(`ALTER DATABASE points ALLOW_CONNECTIONS true`)
}

// restoreBackup puts the copy in place of the database.
func (d *database) restoreBackup() bool {
	return d.retry("DROP DATABASE IF EXISTS points_lost WITH (FORCE)") &&
		d.withoutConnections("points", `ALTER DATABASE points RENAME TO points_lost`) &&
		d.retry(`ALTER DATABASE points_backup RENAME TO points`)
}

// withoutConnections ends the connections to a database again and again until the statement works.
func (d *database) withoutConnections(name, statement string) bool {
	return d.retry(`ALTER DATABASE `+name+` ALLOW_CONNECTIONS false`) &&
		d.w.waitUntil(statement, func() bool {
			_ = d.primary.TryExec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + name + `'`)
			return d.primary.TryExec(statement) == nil
		})
}

// retry runs a statement until it works. The standby may be away for a moment.
func (d *database) retry(statement string) bool {
	return d.w.waitUntil(statement, func() bool { return d.primary.TryExec(statement) == nil })
}

// backupFault restores a backup that is some seconds old. What was committed since then is lost.
func backupFault() *faultKind {
	const second = time.Second
	return &faultKind{name: "restore a backup", minHold: second, maxHold: 3 * second, plan: func(e *episode, _ *rand.Rand) fault {
		d := e.w.database
		hasCopy := false
		inject := func() { hasCopy = d.backUp() }
		heal := func() {
			if hasCopy && d.restoreBackup() {
				e.load.restored = e.load.since()
			}
		}
		return fault{target: "postgres", inject: inject, heal: heal}
	}}
}
