package pgconn

import "errors"

// Role is what a server must be.
type Role int

// The roles, from the weakest to the strictest.
const (
	AnyServer Role = iota
	Primary        // not a standby; it may be read-only
	Writable       // a primary whose transactions may write by default
)

// The errors of a server with another role.
var (
	ErrStandby = errors.New("the server is a standby, which is not used even for reads; " +
		"the database URL must lead to the primary")
	ErrReadOnly = errors.New("the server is read-only: default_transaction_read_only is on; " +
		"writes wait until it is off")
)

// RoleQuery returns one row for CheckRole.
const RoleQuery = `SELECT ` + roleColumns

const roleColumns = `pg_is_in_recovery()::text, current_setting('transaction_read_only')`

// CheckRole returns ErrStandby or ErrReadOnly if a server does not have the role. The other
// arguments are the columns of RoleQuery.
func CheckRole(role Role, inRecovery, readOnly string) error {
	if role >= Primary && inRecovery == "true" {
		return ErrStandby
	}

	if role >= Writable && readOnly == "on" {
		return ErrReadOnly
	}

	return nil
}
