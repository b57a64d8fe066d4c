package wallet

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file is the only one that looks at SQLSTATEs and at SQLite's codes.

// The SQLSTATEs with a meaning of their own.
const (
	stateUniqueViolation      = "23505"
	stateDivisionByZero       = "22012" // a batch's statement aborts with it: see abortUnless
	stateLockNotAvailable     = "55P03"
	stateIdleInTransaction    = "25P03"
	stateReadOnlyTransaction  = "25006" // a replica refuses to write
	stateFeatureNotSupported  = "0A000" // a replica refuses to begin a transaction that may write
	constraintIdempotencyKeys = "idempotency_keys_pkey"
	constraintWallets         = "wallets_pkey"
	constraintEntrySeq        = "entries_account_seq"
)

// isLostRace reports whether a write failed because another process committed first: both used a key,
// created a wallet or took a wallet's next seq, or the statement aborted itself. The batch must
// start again.
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

// errConnect marks an error that came before there was a connection.
var errConnect = errors.New("connect")

// isRetryable reports errors after which the same work may succeed: a lost connection, a server that
// starts or stops, a serialization failure, a deadlock, a lock that took too long, a server that
// only reads, and a database that accepts no connections.
func isRetryable(err error) bool {
	var pe *pq.Error
	if errors.As(err, &pe) {
		return isRetryablePostgres(pe, errors.Is(err, errConnect))
	}

	var se *sqlite.Error
	if errors.As(err, &se) {
		code := se.Code() & 0xff
		return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
	}

	var ne net.Error
	for _, lost := range []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}

	return errors.As(err, &ne)
}

func isRetryablePostgres(err *pq.Error, connecting bool) bool {
	switch err.Code.Class() {
	case "08", "53", "57": // connection exception, insufficient resources, operator intervention
		return true
	case "40": // serialization failure, deadlock
		return true
	case "28", "3D", "55": // authorization, no such database, one that accepts no connections
		if connecting {
			return true // from a statement it would be a bug
		}
	}

	switch err.Code {
	case stateLockNotAvailable, stateIdleInTransaction:
		return true
	case stateReadOnlyTransaction, stateFeatureNotSupported: // until the replica is promoted
		return true
	}

	return false
}
