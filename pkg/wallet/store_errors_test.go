package wallet

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// TestOutagesAreRetried wraps errors of a database that starts, stops, is full, or is a replica
// until its failover. They do not come from the operation, so they are retried.
func TestOutagesAreRetried(t *testing.T) {
	for _, tc := range []struct {
		code pqerror.Code
		want bool
	}{
		{"57P01", true}, // admin shutdown
		{"57P03", true}, // cannot connect now
		{"57014", true}, // query canceled
		{"53300", true}, // too many connections
		{"53100", true}, // disk full
		{"08006", true}, // connection failure
		{"40001", true}, // serialization failure
		{"40P01", true}, // deadlock
		{"55P03", true}, // lock not available
		{"58030", true}, // I/O error
		{"25P03", true}, // idle in transaction timeout
		{"25006", true}, // an INSERT on a replica
		{"0A000", true}, // a transaction for writes on a replica
		{"26000", true}, // unknown prepared statement
		{"42P05", true}, // duplicate prepared statement
		{"25P02", true}, // failed transaction
		{"55000", false},
		{"28P01", false}, // invalid password
		{"28000", false}, // invalid authorization
		{"3D000", false}, // unknown database
		{"42501", true},  // insufficient privilege
		{"42P01", true},  // unknown table
		{"23514", false}, // check violation
		{"22003", false}, // out of range
		{"XX000", false}, // internal error
	} {
		t.Run(string(tc.code), func(t *testing.T) {
			err := fmt.Errorf("write: %w", &pq.Error{Code: tc.code})
			checkEqual(t, "retried", isRetryable(err), tc.want)
		})
	}
	checkEqual(t, "an error that is not from the database is retried", isRetryable(errors.New("unknown")), false)
}

// TestRefusedConnectionsAreRetried wraps errors that are an outage only while connecting.
func TestRefusedConnectionsAreRetried(t *testing.T) {
	for _, code := range []pqerror.Code{"55000", "28P01", "28000", "3D000", "42501"} {
		t.Run(string(code), func(t *testing.T) {
			err := fmt.Errorf("begin: %w: %w", pgconn.ErrConnect, &pq.Error{Code: code})
			checkEqual(t, "retried", isRetryable(err), true)
		})
	}
}
