package pgconn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// ErrPooler means that connections share the sessions of the server.
var ErrPooler = errors.New("the database URL leads to a connection pooler in transaction or statement mode, " +
	"which gives a session of the server to several connections; use the port of Postgres itself, or a pool in session mode")

// ErrSettings means that the settings of a session are not in force.
var ErrSettings = errors.New("the settings of the connections must be in force")

// CheckSessions returns ErrPooler or ErrSettings unless each connection of the pool has a session of
// its own with the connector's settings. The pool must be the connector's, and must have room for two
// connections.
//
// A second connection begins a transaction, and so keeps the session that it gets. A pooler in
// transaction mode then has to use another session for the first connection.
func CheckSessions(ctx context.Context, db *sql.DB, c *Connector) error {
	first, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer first.Close()

	before, err := readBackend(ctx, first)
	if err != nil {
		return err
	}

	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("open a second session; a connection pooler must be in session mode, with room for all connections: %w", err)
	}
	defer func() { _ = tx.Rollback() }()

	_, err = readBackend(ctx, tx)
	if err != nil {
		return err
	}

	after, err := readBackend(ctx, first)
	if err != nil {
		return err
	}

	if before != after {
		return ErrPooler
	}

	return c.checkSettings(ctx, first)
}

type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readBackend returns the id of the server's process behind a connection.
func readBackend(ctx context.Context, q rowQuerier) (string, error) {
	var backend string
	err := q.QueryRowContext(ctx, `SELECT pg_backend_pid()::text`).Scan(&backend)
	return backend, err
}

// checkSettings compares the settings of a session with the connector's. Those in the URL are not
// compared, because the server has accepted them in any form.
func (c *Connector) checkSettings(ctx context.Context, q rowQuerier) error {
	var names, values []string
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		if c.IsDecided || !c.Target.has(name) {
			names = append(names, pq.QuoteLiteral(name))
			values = append(values, pq.QuoteLiteral(c.Settings[name]))
		}
	}

	if len(names) == 0 {
		return nil
	}

	// set_config returns a value as the server shows it. The last argument limits it to this statement.
	query := `SELECT coalesce(string_agg(name || ' is ' || found || ', not ' || wanted, '; '), '') FROM (
		SELECT name, current_setting(name) AS found, set_config(name, value, true) AS wanted
		FROM unnest(ARRAY[` + strings.Join(names, ", ") + `], ARRAY[` + strings.Join(values, ", ") + `]) AS u(name, value)
		WHERE current_setting(name, true) IS NOT NULL OFFSET 0) s WHERE found <> wanted`
	var differences string
	err := q.QueryRowContext(ctx, query).Scan(&differences)
	if err != nil {
		return fmt.Errorf("compare settings: %w", err)
	}

	if differences != "" {
		return fmt.Errorf("%w, but %s; a pooler or proxy must pass on SET", ErrSettings, differences)
	}

	return nil
}
