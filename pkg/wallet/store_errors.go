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

// stateDivisionByZero is the SQLSTATE with which a batch's statement aborts: see abortUnless.
const stateDivisionByZero = "22012"

// lostRace tells a write that another process' commit made impossible: both used a
// key, made a wallet or gave out a wallet's next seq, or the write found something
// other than it expected and divided by zero. The batch runs again and finds what there is.
func lostRace(err error) bool {
	var pe *pq.Error
	if !errors.As(err, &pe) {
		return false
	}
	switch pe.Constraint {
	case "idempotency_keys_pkey", "wallets_pkey", "entries_account_seq":
		return pe.Code == "23505"
	}
	return pe.Code == stateDivisionByZero
}

// errConnect marks what failed before there was a connection.
var errConnect = errors.New("connect")

// retryable tells database errors after which the same work may succeed: a
// lost connection, a server that starts or stops, a serialization failure, a
// deadlock, a timeout on a lock, a server that only reads, a database that lets nobody in. It is the one
// place that looks at SQLSTATEs and SQLite's codes.
func retryable(err error) bool {
	var pe *pq.Error
	if errors.As(err, &pe) {
		switch pe.Code.Class() {
		case "08", "53", "57": // connection exception, insufficient resources, operator intervention
			return true
		case "40": // transaction rollback: serialization failure, deadlock
			return true
		case "28", "3D", "55": // authorization, no such database, one that takes no connections: of a statement, a bug
			if errors.Is(err, errConnect) {
				return true
			}
		}
		switch pe.Code {
		case "55P03", "25P03": // lock not available, idle in transaction timeout
			return true
		case "25006", "0A000": // a replica refuses to write, or to begin a transaction that may, until it is promoted
			return true
		}
		return false
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		code := se.Code() & 0xff
		return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
	}
	var ne net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &ne)
}
