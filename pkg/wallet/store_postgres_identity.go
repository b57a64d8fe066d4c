package wallet

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// This file notices when new connections reach another database than before: a standby after a
// failover, or a restored copy. The other database may lack commits of the earlier one. So nothing
// that the process remembers about the earlier one is used any more.

// identityExpression is an SQL expression that differs between two databases, and between two runs
// of a server. It does not contain the server's address, because one server may have several.
const identityExpression = `concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
	(SELECT oid FROM pg_database WHERE datname = current_database()), coalesce(to_regclass('transactions')::oid, 0))`

// generations counts the databases that the connections have reached.
type generations struct {
	newest atomic.Uint64 // number of the newest identity, from 1; 0 before the first connection

	mu       sync.Mutex // locked to change newest
	identity string     // the newest identity
}

// addIdentity records the identity that a new connection has reached and returns its generation.
func (g *generations) addIdentity(identity string) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()

	if identity != g.identity {
		g.identity = identity
		g.newest.Add(1)
	}

	return g.newest.Load()
}

// current returns the newest generation and its identity.
func (g *generations) current() (generation uint64, identity string) {
	g.mu.Lock()
	defer g.mu.Unlock()

	return g.newest.Load(), g.identity
}

// connector opens connections and finds out which database they reach. It marks the errors of
// connecting with errConnect, so that isRetryable can distinguish them from the errors of
// statements.
type connector struct {
	dsn         string
	generations *generations
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := pq.Open(c.dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}

	conn, ok := opened.(postgresConn)
	if !ok {
		_ = opened.Close()
		return nil, fmt.Errorf("the connection must have the methods of postgresConn; got %T", opened)
	}

	identity, err := readIdentity(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: read identity: %w", errConnect, err)
	}

	return &identifiedConn{
		postgresConn: conn,
		generations:  c.generations,
		generation:   c.generations.addIdentity(identity),
	}, nil
}

// Driver implements driver.Connector.
func (connector) Driver() driver.Driver { return &pq.Driver{} }

// identityTimeout bounds the query for the identity. Without it a connection that was opened for
// later use could wait for ever.
const identityTimeout = 5 * time.Second

// readIdentity returns the identity of the database that the connection has reached.
func readIdentity(ctx context.Context, conn driver.QueryerContext) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()

	rows, err := conn.QueryContext(ctx, `SELECT `+identityExpression, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()

	var row [1]driver.Value
	err = rows.Next(row[:])
	if err != nil {
		return "", err
	}

	switch identity := row[0].(type) {
	case string:
		return identity, nil
	case []byte:
		return string(identity), nil
	}

	return "", errors.New("the identity must be text")
}

// postgresConn has the methods of the driver's connections that database/sql uses.
type postgresConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// identifiedConn is a connection that is not used again after a newer one has reached another
// database.
type identifiedConn struct {
	postgresConn
	generations *generations
	generation  uint64
}

// ResetSession implements driver.SessionResetter. database/sql calls it before it uses a connection
// again.
func (c *identifiedConn) ResetSession(ctx context.Context) error {
	if c.isOutdated() {
		return driver.ErrBadConn
	}

	return c.postgresConn.ResetSession(ctx)
}

// IsValid implements driver.Validator. database/sql calls it before it keeps a connection.
func (c *identifiedConn) IsValid() bool {
	return !c.isOutdated() && c.postgresConn.IsValid()
}

func (c *identifiedConn) isOutdated() bool {
	return c.generation != c.generations.newest.Load()
}
