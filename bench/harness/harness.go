// Package harness gives every benchmark its surroundings: a durable Postgres, a Redis, programs
// built from the working tree, and database names and Redis namespaces of its own. It removes them
// at the end.
package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redroomrewards/realtime/bench/pgserver"
	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/bench/stack"
)

// Harness holds the surroundings of one benchmark.
type Harness struct {
	Postgres    *pgserver.Server
	Redis       *stack.Redis
	Secret      stack.Secret
	Environment report.Environment

	redisURL  string
	root      string          // of the repository
	dir       string          // of the compiled programs
	id        string          // prefix of the names of databases and namespaces
	databases map[string]bool // names of the databases that Close drops
	settings  pgserver.Settings
}

// Open connects to the servers that TEST_DATABASE_URL and TEST_REDIS_URL name. scripts/bench sets
// both variables.
func Open(ctx context.Context, name string, args []string, getenv func(string) string) (_ *Harness, err error) {
	databaseURL := getenv("TEST_DATABASE_URL")
	redisURL := getenv("TEST_REDIS_URL")
	if databaseURL == "" || redisURL == "" {
		return nil, fmt.Errorf("TEST_DATABASE_URL and TEST_REDIS_URL must be set: run scripts/bench %s",
			name)
	}

	h := &Harness{
		Secret:    stack.NewSecret(),
		redisURL:  redisURL,
		id:        newID(),
		databases: make(map[string]bool),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()

	h.dir, err = os.MkdirTemp("", "realtime-bench-")
	if err != nil {
		return nil, err
	}

	h.root, err = stack.Root(ctx)
	if err != nil {
		return nil, err
	}

	h.Postgres, err = pgserver.Open(ctx, databaseURL)
	if err != nil {
		return nil, err
	}

	h.Redis, err = stack.OpenRedis(ctx, redisURL)
	if err != nil {
		return nil, err
	}

	h.settings, err = h.Postgres.Settings(ctx)
	if err != nil {
		return nil, err
	}

	h.Environment = report.NewEnvironment(name, args)
	h.Environment.Commit = stack.Commit(ctx, h.root)
	h.Environment.Postgres = h.settings.Version
	h.Environment.Redis = h.Redis.Version(ctx)
	return h, nil
}

// RequireDurable returns an error if the server may lose commits, because its figures would then
// mean nothing.
func (h *Harness) RequireDurable() error {
	if !h.settings.Durable() {
		return fmt.Errorf("the Postgres server must have fsync, synchronous_commit and full_page_writes on, but has %+v",
			h.settings)
	}
	return nil
}

func newID() string {
	var id [4]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	return "bench_" + hex.EncodeToString(id[:])
}

// Build compiles a program of the repository, such as cmd/core.
func (h *Harness) Build(ctx context.Context, path string) (program string, err error) {
	return stack.Build(ctx, h.root, path, h.dir)
}

// CreateDatabase makes a database. With a template it is a copy of that database, which this
// harness must have made. Names are local to the harness. Close drops the database if DropDatabase
// did not.
func (h *Harness) CreateDatabase(ctx context.Context, name, template string) error {
	if template != "" {
		template = h.id + template
	}

	err := h.Postgres.Create(ctx, h.id+name, template)
	if err != nil {
		return err
	}

	h.databases[name] = true
	return nil
}

// DropDatabase removes a database. Other connections to it are closed.
func (h *Harness) DropDatabase(ctx context.Context, name string) error {
	delete(h.databases, name)
	return h.Postgres.Drop(ctx, h.id+name)
}

// Config returns the configuration of servers that work on a database. All databases share one
// namespace in Redis: a database stores its namespace, and so do its copies. Delete the namespace
// before the next database publishes.
func (h *Harness) Config(database string) *stack.Config {
	return &stack.Config{
		DatabaseURL: h.Postgres.URL(h.id + database),
		RedisURL:    h.redisURL,
		Namespace:   h.id,
		Secret:      h.Secret,
	}
}

// Close removes everything that the harness made.
func (h *Harness) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the caller's context may have ended
	defer cancel()
	var errs []error
	if h.Postgres != nil {
		for name := range h.databases {
			errs = append(errs, h.Postgres.Drop(ctx, h.id+name))
		}

		errs = append(errs, h.Postgres.Close())
	}

	if h.Redis != nil {
		errs = append(errs, h.Redis.Delete(ctx, h.id), h.Redis.Close())
	}

	if h.dir != "" {
		errs = append(errs, os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}

// Progress prints a line about the benchmark's progress to stderr.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
