package pgconn

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

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

// Conn is a connection. The driver never sees a context that can end: the end of a context closes
// the socket instead.
type Conn struct {
	postgresConn
	socket     *socket
	server     *Server
	role       Role   // that the server must have
	generation uint64 // of the server when the connection was opened
	unusable   bool   // a statement has failed in a way that another connection may not

	unconfirmed bool // a commit in this call has not waited for its synchronous standby
}

// ExecContext implements driver.ExecerContext.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	stop := c.closeAtEnd(ctx)
	result, err := c.postgresConn.ExecContext(context.Background(), query, args)
	stop()
	return result, c.noteError(ctx, err)
}

// QueryContext implements driver.QueryerContext.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stop := c.closeAtEnd(ctx)
	result, err := c.postgresConn.QueryContext(context.Background(), query, args)
	return c.wrapRows(ctx, result, err, stop)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stop := c.closeAtEnd(ctx)
	prepared, err := c.postgresConn.PrepareContext(context.Background(), query)
	stop()
	if err != nil {
		return nil, c.noteError(ctx, err)
	}

	return c.wrapStatement(prepared)
}

// BeginTx implements driver.ConnBeginTx. A transaction is read-only if the options say so.
// Otherwise the server decides whether it may write. Its COMMIT is bounded by ctx and by the limit
// of a round trip.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	stop := c.closeAtEnd(ctx)
	begun, err := c.begin(opts)
	stop()
	if err != nil {
		return nil, c.noteError(ctx, err)
	}

	t := &tx{
		Tx:    begun,
		conn:  c,
		ctx:   ctx,
		limit: c.socket.limit,
	}
	if isUnlimited(ctx) {
		err = c.socket.setLimit(0)
	}

	return t, err
}

func (c *Conn) begin(opts driver.TxOptions) (driver.Tx, error) {
	if opts.ReadOnly {
		return c.postgresConn.BeginTx(context.Background(), opts)
	}

	if opts.Isolation != 0 {
		return nil, errors.New("a transaction that may write must have the default isolation level")
	}

	return c.postgresConn.Begin() // BeginTx would say READ WRITE
}

// Ping implements driver.Pinger.
func (c *Conn) Ping(ctx context.Context) error {
	stop := c.closeAtEnd(ctx)
	err := c.postgresConn.Ping(context.Background())
	stop()
	return c.noteError(ctx, err)
}

// ResetSession implements driver.SessionResetter. database/sql calls it before it uses a connection
// again.
func (c *Conn) ResetSession(ctx context.Context) error {
	if !c.isUsable() {
		return driver.ErrBadConn
	}

	return c.postgresConn.ResetSession(ctx)
}

// IsValid implements driver.Validator. database/sql calls it before it keeps a connection.
func (c *Conn) IsValid() bool { return c.isUsable() && c.postgresConn.IsValid() }

// Close implements driver.Conn. It fails only at telling the server, which then notices the closed
// socket.
func (c *Conn) Close() error {
	_ = c.postgresConn.Close()
	return nil
}

func (c *Conn) isUsable() bool {
	isCurrent := c.generation == c.server.Generation()
	isHealthy := !c.unusable && !c.socket.broken.Load()
	return isCurrent && isHealthy && !c.server.isSuspect(c.socket.lastRead.Load())
}

// closeAtEnd closes the socket if ctx ends before the returned function is called.
func (c *Conn) closeAtEnd(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}

	stopClosing := context.AfterFunc(ctx, c.socket.abort)
	return func() {
		if !stopClosing() {
			c.socket.broken.Store(true) // abort may not have run yet
		}
	}
}

const (
	readOnlyTransaction = "25006"

	// A prepared statement returns other types than before, because somebody has altered a table. The
	// session never prepares it again. A standby gives this error, too.
	featureNotSupported = "0A000"
)

// isUnusableAfter reports whether a connection must not be used again after an error of the server.
// Another connection may reach another server, or a session of its own behind a pooler, and prepares
// its statements itself. After the errors that end a session, the driver knows that by itself.
func isUnusableAfter(code pqerror.Code) bool {
	switch code {
	case readOnlyTransaction, featureNotSupported,
		"25P02", // failed transaction
		"26000", // unknown prepared statement
		"42P05": // prepared statement exists
		return true
	}

	return code.Class() == "08" // connection exception
}

// noteError returns the error of a call on the connection. It joins the error of the context if
// that has ended.
func (c *Conn) noteError(ctx context.Context, err error) error {
	if err == nil {
		return c.takeUnconfirmed()
	}

	var pe *pq.Error
	if errors.As(err, &pe) && isUnusableAfter(pe.Code) {
		c.unusable = true
		isWrite := pe.Code == readOnlyTransaction && c.role == Writable
		if isWrite || pe.Code == featureNotSupported {
			c.server.suspectOthers() // they would need a failed statement each
		}
	}

	if c.socket.broken.Load() {
		return joinContext(ctx, err)
	}

	return err
}

// ErrUnconfirmed means that a transaction is committed, but that the server has ended its wait for the
// synchronous standby, because somebody cancelled or ended the session. A failover may lose the
// transaction.
var ErrUnconfirmed = errors.New("the commit was not confirmed by the synchronous standby")

// noteNotice looks for the warning with which the server ends such a wait. Its text depends on the
// server's language, but the name of the server's function does not.
func (c *Conn) noteNotice(notice *pq.Error) {
	if notice.Routine == "SyncRepWaitForLSN" {
		c.unconfirmed = true
	}
}

// takeUnconfirmed returns ErrUnconfirmed once after such a warning.
func (c *Conn) takeUnconfirmed() error {
	if !c.unconfirmed {
		return nil
	}

	c.unconfirmed = false
	return ErrUnconfirmed
}

// rows are the rows of a query. The end of the query's context closes the connection until they are
// closed.
type rows struct {
	driver.Rows
	conn *Conn
	ctx  context.Context //nolint:containedctx // of the query
	stop func()
}

func (c *Conn) wrapRows(ctx context.Context, result driver.Rows, err error, stop func()) (driver.Rows, error) {
	if err != nil {
		stop()
		return nil, c.noteError(ctx, err)
	}

	return &rows{
		Rows: result,
		conn: c,
		ctx:  ctx,
		stop: stop,
	}, nil
}

// Next implements driver.Rows.
func (r *rows) Next(values []driver.Value) error {
	err := r.Rows.Next(values)
	if err == nil {
		return nil
	}

	if err == io.EOF { //nolint:errorlint // the driver's contract
		return cmp.Or(r.conn.takeUnconfirmed(), io.EOF)
	}

	return r.conn.noteError(r.ctx, err)
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	err := r.Rows.Close()
	r.stop()
	return r.conn.noteError(r.ctx, err)
}

// driverStatement has the methods of the driver's statements that database/sql uses.
type driverStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement is a prepared statement.
type statement struct {
	driverStatement
	conn *Conn
}

func (c *Conn) wrapStatement(prepared driver.Stmt) (driver.Stmt, error) {
	s, ok := prepared.(driverStatement)
	if !ok {
		_ = prepared.Close()
		return nil, errors.New("the statement must have the methods of driverStatement; COPY has not")
	}

	return &statement{s, c}, nil
}

// ExecContext implements driver.StmtExecContext.
func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	stop := s.conn.closeAtEnd(ctx)
	result, err := s.driverStatement.ExecContext(context.Background(), args)
	stop()
	return result, s.conn.noteError(ctx, err)
}

// QueryContext implements driver.StmtQueryContext.
func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	stop := s.conn.closeAtEnd(ctx)
	result, err := s.driverStatement.QueryContext(context.Background(), args)
	return s.conn.wrapRows(ctx, result, err, stop)
}

// tx is a transaction.
type tx struct {
	driver.Tx
	conn  *Conn
	ctx   context.Context //nolint:containedctx // of the transaction
	limit time.Duration   // of round trips after the transaction
}

// Commit implements driver.Tx. If the transaction's context ends meanwhile, the connection is
// closed, and it is unknown whether the transaction was committed.
func (t *tx) Commit() error {
	stop := t.conn.closeAtEnd(t.ctx)
	err := t.Tx.Commit()
	stop()
	return t.finish(err)
}

// Rollback implements driver.Tx.
func (t *tx) Rollback() error { return t.finish(t.Tx.Rollback()) }

// finish restores the limit of round trips.
func (t *tx) finish(err error) error {
	t.conn.socket.limit = t.limit
	return t.conn.noteError(t.ctx, err)
}

type unlimitedKey struct{}

// WithoutLimit returns a context for transactions whose round trips have no time limit. Only the
// kernel's keep-alive then notices a dead server.
func WithoutLimit(ctx context.Context) context.Context {
	return context.WithValue(ctx, unlimitedKey{}, true)
}

func isUnlimited(ctx context.Context) bool { return ctx.Value(unlimitedKey{}) != nil }
