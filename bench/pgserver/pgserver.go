// Package pgserver controls the Postgres server of a benchmark. It clones databases, reads
// settings, and measures the write-ahead log and the CPU time.
package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/bench/process"
)

// Server is a connection to the server as a superuser.
type Server struct {
	db         *sql.DB
	url        *url.URL
	postmaster int // process id; 0: unknown, because the server is on another machine
}

// Open connects to the server that the URL names.
func Open(ctx context.Context, rawURL string) (*Server, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the database URL must be a URL") // the cause would show the password
	}

	db, err := sql.Open("postgres", rawURL)
	if err != nil {
		return nil, err
	}

	s := &Server{db: db, url: u}
	var backend int
	err = db.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&backend)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}

	host := u.Hostname()
	isLocal := host == "127.0.0.1" || host == "localhost" || host == ""
	if isLocal {
		// If Postgres runs in a container, it has another id here. CPU then finds no process, or
		// one that uses no CPU time.
		pid, err := process.Parent(backend)
		if err == nil {
			s.postmaster = pid
		}
	}
	return s, nil
}

// Close ends the connection.
func (s *Server) Close() error { return s.db.Close() }

// URL returns the URL of a database of the server.
func (s *Server) URL(name string) string {
	u := *s.url
	u.Path = "/" + name
	return u.String()
}

// Create makes a database as a copy of the template. An empty template is Postgres' own. There must
// be no connection to the template.
func (s *Server) Create(ctx context.Context, name, template string) error {
	if template == "" {
		template = "template1"
	}
	return s.execSQL(ctx,
		`CREATE DATABASE `+pq.QuoteIdentifier(name)+` TEMPLATE `+pq.QuoteIdentifier(template))
}

// Exists reports whether there is a database of that name.
func (s *Server) Exists(ctx context.Context, name string) (exists bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists)
	return exists, err
}

// Drop deletes a database and closes all connections to it.
func (s *Server) Drop(ctx context.Context, name string) error {
	return s.execSQL(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`)
}

// Checkpoint writes all data to disk, so that a measurement does not include earlier work.
func (s *Server) Checkpoint(ctx context.Context) error { return s.execSQL(ctx, `CHECKPOINT`) }

func (s *Server) execSQL(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// WAL returns the position in the write-ahead log, in bytes.
func (s *Server) WAL(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`).Scan(&n)
	return n, err
}

// CPU returns the CPU time of all processes of the server. It is 0 if it cannot be measured.
func (s *Server) CPU() time.Duration {
	if s.postmaster == 0 {
		return 0
	}

	d, err := process.TreeCPU(s.postmaster)
	if err != nil {
		return 0
	}
	return d
}

// Settings are the server's version and the settings that determine its durability.
type Settings struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronousCommit"`
	FullPageWrites    string `json:"fullPageWrites"`
}

// Durable reports whether an acknowledged commit survives a power failure.
func (s *Settings) Durable() bool {
	return s.Fsync == "on" && s.SynchronousCommit == "on" && s.FullPageWrites == "on"
}

// Settings reads the settings from the server.
func (s *Server) Settings(ctx context.Context) (Settings, error) {
	var out Settings
	err := s.db.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('full_page_writes')`).
		Scan(&out.Version, &out.Fsync, &out.SynchronousCommit, &out.FullPageWrites)
	return out, err
}
