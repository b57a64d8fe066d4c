// Package pgserver is the Postgres server that a benchmark's databases live on:
// it clones databases, tells settings, and measures write-ahead log and CPU time.
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

// Server is a connection to the server as its superuser.
type Server struct {
	db         *sql.DB
	url        *url.URL
	postmaster int // process id; 0: the server is on another machine
}

// Open connects to the server that the URL names.
func Open(ctx context.Context, rawURL string) (*Server, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the database URL is malformed") // the cause would show the password
	}
	db, err := sql.Open("postgres", rawURL)
	if err != nil {
		return nil, err
	}
	s := &Server{db: db, url: u}
	var backend int
	if err := db.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	if ip := u.Hostname(); ip == "127.0.0.1" || ip == "localhost" || ip == "" {
		// In a container the id is another one; CPU then finds no process or one that never moves.
		if pid, err := process.Parent(backend); err == nil {
			s.postmaster = pid
		}
	}
	return s, nil
}

// Close ends the connection.
func (s *Server) Close() error { return s.db.Close() }

// URL is where a database of the server is.
func (s *Server) URL(name string) string {
	u := *s.url
	u.Path = "/" + name
	return u.String()
}

// Create makes a database, a copy of the template (empty: Postgres' own). Nobody
// may be connected to the template.
func (s *Server) Create(ctx context.Context, name, template string) error {
	if template == "" {
		template = "template1"
	}
	return s.exec(ctx, `CREATE DATABASE `+pq.QuoteIdentifier(name)+` TEMPLATE `+pq.QuoteIdentifier(template))
}

// Exists tells whether there is a database of that name.
func (s *Server) Exists(ctx context.Context, name string) (there bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there)
	return there, err
}

// Drop deletes a database, whoever is connected to it.
func (s *Server) Drop(ctx context.Context, name string) error {
	return s.exec(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`)
}

// Checkpoint writes everything to disk, so that a measurement pays for nothing
// that was done before it.
func (s *Server) Checkpoint(ctx context.Context) error { return s.exec(ctx, `CHECKPOINT`) }

func (s *Server) exec(ctx context.Context, statement string) error {
	if _, err := s.db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// WAL is the position in the write-ahead log, in bytes.
func (s *Server) WAL(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.QueryRowContext(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`).Scan(&n)
	return n, err
}

// CPU is the CPU time of all the server's processes, 0 when it cannot be told.
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

// Settings are the server's version and what its durability hangs on.
type Settings struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronousCommit"`
	FullPageWrites    string `json:"fullPageWrites"`
}

// Durable tells whether a commit that was answered survives a power cut.
func (s *Settings) Durable() bool {
	return s.Fsync == "on" && s.SynchronousCommit == "on" && s.FullPageWrites == "on"
}

// Settings reads them.
func (s *Server) Settings(ctx context.Context) (Settings, error) {
	var out Settings
	err := s.db.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('full_page_writes')`).
		Scan(&out.Version, &out.Fsync, &out.SynchronousCommit, &out.FullPageWrites)
	return out, err
}
