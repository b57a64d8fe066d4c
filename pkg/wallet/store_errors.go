package wallet

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// No other file of the package reads SQLSTATEs or the error codes of SQLite. pgconn reads those after
// which a connection is not used again.

// The SQLSTATEs that the ledger distinguishes.
const (
	stateUniqueViolation      = "23505"
	stateDivisionByZero       = "22012" // the write statement aborts with it; see abortUnless
	stateLockNotAvailable     = "55P03"
	stateIdleInTransaction    = "25P03"
	stateReadOnlyTransaction  = "25006" // a write on a replica
	stateFailedTransaction    = "25P02"
	stateUnknownStatement     = "26000"
	stateDuplicateStatement   = "42P05"
	stateFeatureNotSupported  = "0A000" // a transaction that may write, begun on a replica
	constraintIdempotencyKeys = "idempotency_keys_pkey"
	constraintWallets         = "wallets_pkey"
	constraintEntrySeq        = "entries_account_seq"
)

// isLostRace reports whether a write failed because another process committed first. Both processes
// used the same key, created the same wallet or used the same seq of an account, or the statement
// aborted itself. The batch must start again.
func isLostRace(err error) bool {
	var pe *pq.Error
	if !errors.As(err, &pe) {
		return false
	}

	switch pe.Constraint {
	case constraintIdempotencyKeys, constraintWallets, constraintEntrySeq:
		return pe.Code == stateUniqueViolation
	}

	return pe.Code == stateDivisionByZero
}

// isRetryable reports whether the same work may succeed after the error. Failures to connect and lost
// connections are retryable. So are serialization failures, deadlocks and lock timeouts. So are errors
// of a server that starts, stops or is read-only, and of a session that a pooler has mixed up. So are
// missing rights and tables.
func isRetryable(err error) bool {
	if errors.Is(err, pgconn.ErrConnect) {
		return true // a setting that can never work keeps the ledger from opening
	}

	var pe *pq.Error
	if errors.As(err, &pe) {
		return isRetryablePostgres(pe)
	}

	var se *sqlite.Error
	if errors.As(err, &se) {
		switch primaryCode(se) {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return true
		}

		return isLasting(err)
	}

	connectionErrors := [...]error{
		errUnproven,
		pgconn.ErrUnconfirmed,
		driver.ErrBadConn,
		io.EOF,
		io.ErrUnexpectedEOF,
		net.ErrClosed,
	}

	for _, target := range connectionErrors {
		if errors.Is(err, target) {
			return true
		}
	}

	var ne net.Error
	return errors.As(err, &ne)
}

// primaryCode returns the error code without its details.
func primaryCode(err *sqlite.Error) int { return err.Code() & 0xff }

// isLasting reports whether the database cannot write before somebody mends something: the disk or
// the file of SQLite, or the tables of Postgres or the rights to use them. It is not worth the wait to
// retry a batch. A later batch may succeed.
func isLasting(err error) bool {
	if errors.Is(err, pgconn.ErrConnect) {
		return false
	}

	var pe *pq.Error
	if errors.As(err, &pe) {
		return isMissing(pe)
	}

	var se *sqlite.Error
	if !errors.As(err, &se) {
		return false
	}

	switch primaryCode(se) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return true
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return true
	}

	return false
}

// isSessionEnd reports whether the error ended the session. If the session was waiting for the
// synchronous standby, its transaction is committed.
func isSessionEnd(err *pq.Error) bool {
	isCancel := err.Code == "57014"
	return err.Code.Class() == "57" && !isCancel || err.Code.Class() == "08"
}

// isMissing reports whether a right, a table or a column that the statement needs is missing. The
// statements and the names in them are always the same, so no operation causes these errors.
func isMissing(err *pq.Error) bool { return err.Code.Class() == "42" }

// isRefusal reports whether a batch failed for a reason that does not affect a probe: Postgres has no
// space for the batch, cannot write to its files, or refuses the access to a table.
func isRefusal(err error) bool {
	var pe *pq.Error
	if errors.Is(err, pgconn.ErrConnect) || !errors.As(err, &pe) {
		return false
	}

	switch pe.Code.Class() {
	case "53", "58": // insufficient resources, an error of the server's operating system
		return true
	}

	return isMissing(pe)
}

// isRetryablePostgres is isRetryable for the error of a statement.
func isRetryablePostgres(err *pq.Error) bool {
	switch err.Code.Class() {
	case "08", "53", "57": // connection exception, insufficient resources, operator intervention
		return true
	case "58": // an error of the server's operating system, such as an I/O error
		return true
	case "40": // serialization failure, deadlock
		return true
	}

	switch err.Code {
	case stateLockNotAvailable, stateIdleInTransaction:
		return true
	case stateReadOnlyTransaction, stateFeatureNotSupported: // the replica may be promoted soon
		return true
	case stateFailedTransaction, stateUnknownStatement, stateDuplicateStatement: // of another client of a pooler
		return true
	}

	return isMissing(err)
}
