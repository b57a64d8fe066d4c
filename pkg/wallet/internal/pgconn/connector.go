package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lib/pq"
)

// ErrConnect marks the errors of connecting, to distinguish them from the errors of statements.
var ErrConnect = errors.New("connect")

// Connector opens the connections of one pool. It implements driver.Connector.
type Connector struct {
	DSN    string
	Server *Server // shared by the pools of one database

	// Settings are set on each connection after it was opened. A server that does not know a setting
	// ignores it.
	Settings map[string]string

	// RoundTrip limits each round trip. It should be a bit longer than statement_timeout, so that a
	// server that answers can end a slow statement itself. Defaults to none.
	RoundTrip time.Duration

	// IsProbe says that a silence on a connection of this pool says nothing about the others,
	// because its RoundTrip is short.
	IsProbe bool
}

// setupTimeout bounds the setup of a connection: dialing, the handshakes and the first query.
const setupTimeout = 5 * time.Second

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.setUp(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}

	return conn, nil
}

// setUp connects and finds out which database the connection reaches.
func (c *Connector) setUp(ctx context.Context) (*Conn, error) {
	opener, err := pq.NewConnector(c.DSN)
	if err != nil {
		return nil, err
	}

	d := &dialer{server: c.Server, isProbe: c.IsProbe}
	opener.Dialer(d)

	// The driver looks at the context only while it dials.
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, d.abort)
	defer stop()

	opened, err := opener.Connect(ctx)
	if err != nil {
		return nil, joinContext(ctx, err)
	}

	driverConn, ok := opened.(postgresConn)
	if !ok {
		_ = opened.Close()
		return nil, fmt.Errorf("the connection must have the methods of postgresConn; got %T", opened)
	}

	conn, err := c.identify(driverConn, d.socket.Load())
	if err != nil {
		_ = opened.Close()
		return nil, joinContext(ctx, err)
	}

	if !stop() {
		_ = opened.Close()
		return nil, ctx.Err()
	}

	return conn, nil
}

// identify sets the settings, reads the identity of the database and ends the setup.
func (c *Connector) identify(driverConn postgresConn, s *socket) (*Conn, error) {
	identity, err := readText(driverConn, setupQuery(c.Settings))
	if err != nil {
		return nil, fmt.Errorf("set up the session: %w", err)
	}

	err = s.setLimit(c.RoundTrip)
	if err != nil {
		return nil, err
	}

	conn := &Conn{
		postgresConn: driverConn,
		socket:       s,
		server:       c.Server,
		generation:   c.Server.addIdentity(identity),
	}
	pq.SetNoticeHandler(driverConn, conn.noteNotice)
	return conn, nil
}

// setupQuery returns a query that sets the settings and returns the identity of the database.
func setupQuery(settings map[string]string) string {
	query := `SELECT ` + IdentityExpression
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		quotedName := pq.QuoteLiteral(name)
		quotedValue := pq.QuoteLiteral(settings[name])
		query += fmt.Sprintf(",\n\tCASE WHEN current_setting(%s, true) IS NOT NULL THEN set_config(%s, %s, false) END",
			quotedName, quotedName, quotedValue)
	}

	return query
}

// Driver implements driver.Connector.
func (*Connector) Driver() driver.Driver { return &pq.Driver{} }

// readText returns the first column of the first row of a query.
func readText(conn driver.QueryerContext, query string) (string, error) {
	result, err := conn.QueryContext(context.Background(), query, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = result.Close() }()

	row := make([]driver.Value, len(result.Columns()))
	err = result.Next(row)
	if err != nil {
		return "", err
	}

	switch text := row[0].(type) {
	case string:
		return text, nil
	case []byte:
		return string(text), nil
	}

	return "", fmt.Errorf("the first column must be text; got %T", row[0])
}

// joinContext adds the error of the context, if it has ended, to an error that it may have caused.
func joinContext(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}

	return fmt.Errorf("%w: %w", ctx.Err(), err)
}
