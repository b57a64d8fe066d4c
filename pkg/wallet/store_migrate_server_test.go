package wallet

import (
	"net/url"
	"strings"
	"testing"
)

// slowMigrationSQL makes a statement of the newest migration take longer than a second.
const slowMigrationSQL = `
	CREATE FUNCTION wait_a_second() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.1); END';
	CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE FUNCTION') EXECUTE FUNCTION wait_a_second()`

// TestMigrationHasItsOwnTimeLimits migrates a database whose own time limit, and that of the URL,
// are shorter than the migration takes.
func TestMigrationHasItsOwnTimeLimits(t *testing.T) {
	t.Parallel()
	dsn := newPostgresDatabase(t)
	migrateDown(t, dsn, 3)
	db := openTestDatabase(t, dsn)
	mustExec(t, db, slowMigrationSQL)
	mustExec(t, db, `ALTER DATABASE `+nameDatabase(t, dsn)+` SET statement_timeout = '1s'`)
	err := migrateDatabase(t.Context(), strings.Replace(dsn, "statement_timeout=120000", "statement_timeout=1000", 1))
	checkError(t, "migrate", err, nil)
}

func TestMigrationRefusesOtherEncodingsThanUTF8(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			dsn := newEmptyPostgresDatabase(t)
			name := nameDatabase(t, dsn)
			admin := openTestDatabase(t, strings.Replace(dsn, "/"+name, "/postgres", 1))
			mustExec(t, admin, `DROP DATABASE `+name)
			mustExec(t, admin, `CREATE DATABASE `+name+` ENCODING '`+encoding+`' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)

			err := migrateDatabase(t.Context(), dsn)
			checkError(t, "migrate", err, ErrUnsuitableDatabase)
			checkMentions(t, err, encoding, "ENCODING 'UTF8'")
			_, err = Open(t.Context(), dsn, Config{})
			checkError(t, "open", err, ErrUnsuitableDatabase)
			checkTables(t, openTestDatabase(t, dsn))
		})
	}
}

func TestServersBeforePostgres13AreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		number  int
		version string
		refused bool
	}{
		{90624, "9.6.24", true},
		{120022, "12.22", true},
		{130000, "13.0", false},
		{180004, "18.4", false},
	} {
		t.Run(test.version, func(t *testing.T) {
			server := serverProperties{VersionNumber: test.number, Version: test.version, Encoding: "UTF8"}
			err := server.check()
			if !test.refused {
				checkError(t, "server", err, nil)
				return
			}
			checkError(t, "server", err, ErrUnsuitableDatabase)
			checkMentions(t, err, "Postgres "+test.version, "13")
		})
	}
}

// nameDatabase returns the name of the database at the URL.
func nameDatabase(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}
