package wallet

import (
	"strings"
	"testing"
	"time"
)

// TestRefusedBatchesAreUnavailable makes Postgres refuse all batches, while it answers health checks
// and commits empty transactions. Ping must report it all the time.
func TestRefusedBatchesAreUnavailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse string // what the server does to the role
		accept string
		reason string
	}{
		"missing right": {
			refuse: `REVOKE INSERT ON transactions FROM ROLE`,
			accept: `GRANT INSERT ON transactions TO ROLE`,
			reason: "permission denied for table transactions",
		},
		"full disk": {
			refuse: `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON entries EXECUTE FUNCTION refuse()`,
			accept: `DROP TRIGGER refuse ON entries`,
			reason: "could not extend file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := newPostgresDatabase(t)
			db := openTestDatabase(t, dsn)
			role := createRole(t, db, nameDatabase(t, dsn))
			l, log := runLedgerWithLog(t, strings.Replace(dsn, "postgres@", role+":x@", 1))
			l.writes.memory = time.Hour
			mustDoBatch(t, l, []Op{newCredit("user:u", 1, "first")})

			mustExec(t, db, strings.ReplaceAll(test.refuse, "ROLE", role))
			failures := doUntilUnavailable(t, l, 3)
			checkRefusedWrites(t, l, log, failures, test.reason)
			waitForPing(t, l, test.reason)
			checkEqual(t, "lines about recovery before it", log.count("batches are committed again"), 0)

			// Without any batch, the ledger can only try again later.
			l.writes.memory = 0
			waitForPing(t, l, "")
			mustExec(t, db, strings.ReplaceAll(test.accept, "ROLE", role))
			checkAcceptedWrites(t, l, log)
		})
	}
}

// TestLockedTableIsUnavailable locks a table, as ALTER TABLE does. Ping reports it until the lock is
// gone, although the server commits transactions that do not use the table.
func TestLockedTableIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := newPostgresDatabase(t)
	l, log := runLedgerWithLog(t, dsn+"&lock_timeout=50")
	mustDoBatch(t, l, []Op{newCredit("user:u", 1, "first")})

	lock, err := openTestDatabase(t, dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE entries`)
	checkError(t, "lock the table", err, nil)
	for _, err := range doUntilUnavailable(t, l, 2) {
		checkMentions(t, err, "lock timeout")
	}
	for range 2 { // the first one must not make the second one succeed
		waitForPing(t, l, "could not obtain lock")
	}
	checkEqual(t, "lines about failed batches", log.count("committing a batch failed"), 1)

	checkError(t, "unlock the table", lock.Rollback(), nil)
	checkAcceptedWrites(t, l, log)
}

// TestLedgerGoesOnAfterATableWasAltered alters the type of a column under a ledger that has used it.
func TestLedgerGoesOnAfterATableWasAltered(t *testing.T) {
	t.Parallel()
	dsn := newPostgresDatabase(t)
	l, _ := runLedgerWithLog(t, dsn)
	mustDoBatch(t, l, []Op{newCredit("user:u", 1, "first")})
	checkBalance(t, l, "user:u", Balance{Available: 1, Seq: 1})

	mustExec(t, openTestDatabase(t, dsn), `ALTER TABLE wallets ALTER COLUMN account TYPE varchar(500)`)
	waitForCondition(t, "an account that is not in the cache is credited", func() bool {
		_, err := l.Do(t.Context(), newCredit("user:other", 1, "second"))
		return err == nil
	})
	waitForCondition(t, "the balance is read", func() bool {
		_, err := l.Balance(t.Context(), "user:u")
		return err == nil
	})
	checkLedger(t, l)
}
