package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lib/pq"
)

// ErrConnect marks the errors of connecting, to distinguish them from the errors of statements.
var ErrConnect = errors.New("connect")

// Connector opens the connections of one pool. It implements driver.Connector.
type Connector struct {
	Target *Target
	Server *Server // shared by the pools of one database

	// Role is what the server must be. Servers with another role are not used.
	Role Role

	// Settings are set on each connection after it was opened, so that poolers need not know them.
	// A setting in the URL overrides them. A server that does not know a setting ignores it.
	Settings map[string]string

	// IsDecided says that Settings override those in the URL.
	IsDecided bool

	// RoundTrip limits each round trip. The limit is at least a bit longer than statement_timeout, so
	// that a server that answers can end a slow statement itself. Defaults to none.
	RoundTrip time.Duration

	// IsProbe says that a silence on a connection of this pool says nothing about the others,
	// because its RoundTrip is short.
	IsProbe bool
}

// defaultSetupTimeout bounds the setup of a connection: dialing, the handshakes and the first
// query. The parameter connect_timeout of the URL overrides it.
const defaultSetupTimeout = 5 * time.Second

// Driver implements driver.Connector.
func (*Connector) Driver() driver.Driver { return &pq.Driver{} }

// Connect implements driver.Connector. It tries the hosts in the order of the URL, but first the one
// that was used last.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	var errs []error
	for _, i := range c.orderHosts() {
		conn, err := c.setUp(ctx, &c.Target.hosts[i])
		if err == nil {
			c.Server.lastHost.Store(int64(i))
			return conn, nil
		}

		if errors.Is(err, pq.ErrSSLNotSupported) {
			err = fmt.Errorf("%w; set ssl to on there, or add sslmode=disable to the URL if nobody else can read the network", err)
		}

		if len(c.Target.hosts) > 1 {
			err = fmt.Errorf("%s: %w", describeHost(&c.Target.hosts[i]), err)
		}

		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}

	return nil, fmt.Errorf("%w: %w", ErrConnect, errors.Join(errs...))
}

// orderHosts returns the indexes of the hosts.
func (c *Connector) orderHosts() []int {
	count := len(c.Target.hosts)
	if c.Target.isBalanced {
		return rand.Perm(count)
	}

	last := int(c.Server.lastHost.Load())
	order := []int{last}
	for i := range count {
		if i != last {
			order = append(order, i)
		}
	}

	return order
}

// setUp connects to a host and prepares the session.
func (c *Connector) setUp(ctx context.Context, host *pq.Config) (*Conn, error) {
	config := host.Clone()
	if !c.Target.hasName {
		config.ApplicationName = c.Settings["application_name"]
	}

	opener, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}

	d := &dialer{
		server:  c.Server,
		isProbe: c.IsProbe,
	}
	opener.Dialer(d)

	// The driver looks at the context only while it dials.
	ctx, cancel := context.WithTimeout(ctx, c.Target.setupTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, d.abort)
	defer stop()

	opened, err := opener.Connect(ctx)
	if err != nil {
		return nil, joinContext(ctx, err)
	}

	conn, err := c.startSession(opened, d.socket.Load())
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

// startSession sets the settings, checks the server's role, and finds out which database the
// connection reaches. Then the limit of round trips begins.
func (c *Connector) startSession(opened driver.Conn, s *socket) (*Conn, error) {
	driverConn, ok := opened.(postgresConn)
	if !ok {
		return nil, fmt.Errorf("the connection must have the methods of postgresConn; got %T", opened)
	}

	facts, err := c.readSession(driverConn)
	if err != nil {
		return nil, err
	}

	err = CheckRole(c.Role, facts.inRecovery, facts.readOnly)
	if err != nil {
		return nil, err
	}

	err = s.setLimit(c.roundTrip(facts))
	if err != nil {
		return nil, err
	}

	conn := &Conn{
		postgresConn: driverConn,
		socket:       s,
		server:       c.Server,
		role:         c.Role,
		generation:   c.Server.addIdentity(facts.identity),
	}
	pq.SetNoticeHandler(driverConn, conn.noteNotice)
	return conn, nil
}

// answerTime is how long a server may take to report that it has ended a statement.
const answerTime = 500 * time.Millisecond

// roundTrip returns the limit of round trips. If the URL allows statements more time than usual, the
// limit must not end them.
func (c *Connector) roundTrip(facts session) time.Duration {
	if c.RoundTrip == 0 || c.IsProbe || facts.statementTimeout == 0 {
		return c.RoundTrip
	}

	return max(c.RoundTrip, facts.statementTimeout+answerTime)
}

// joinContext adds the error of the context, if it has ended, to an error that it may have caused.
func joinContext(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}

	return fmt.Errorf("%w: %w", ctx.Err(), err)
}
