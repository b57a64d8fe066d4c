// Package lab is what every benchmark begins with: a durable Postgres, a Redis,
// programs built from the working tree, and names that meet nobody else's. It
// removes what it made.
package lab

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

// Lab is one benchmark's surroundings.
type Lab struct {
	Postgres    *pgserver.Server
	Redis       *stack.Redis
	Secret      stack.Secret
	Environment report.Environment

	redisURL  string
	root      string // of the repository
	dir       string // for programs
	id        string // begins the names of databases and namespaces
	databases map[string]bool
	settings  pgserver.Settings
}

// Open connects to the servers that TEST_DATABASE_URL and TEST_REDIS_URL name,
// which scripts/bench sets.
func Open(ctx context.Context, name string, args []string, getenv func(string) string) (_ *Lab, err error) {
	databaseURL, redisURL := getenv("TEST_DATABASE_URL"), getenv("TEST_REDIS_URL")
	if databaseURL == "" || redisURL == "" {
		return nil, fmt.Errorf("TEST_DATABASE_URL and TEST_REDIS_URL are not set: run scripts/bench %s", name)
	}
	l := &Lab{redisURL: redisURL, Secret: stack.NewSecret(), id: newID(), databases: make(map[string]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "realtime-bench-"); err != nil {
		return nil, err
	}
	if l.root, err = stack.Root(ctx); err != nil {
		return nil, err
	}
	if l.Postgres, err = pgserver.Open(ctx, databaseURL); err != nil {
		return nil, err
	}
	if l.Redis, err = stack.OpenRedis(ctx, redisURL); err != nil {
		return nil, err
	}
	settings, err := l.Postgres.Settings(ctx)
	if err != nil {
		return nil, err
	}
	l.settings = settings
	l.Environment = report.NewEnvironment(name, args)
	l.Environment.Commit = stack.Commit(ctx, l.root)
	l.Environment.Postgres, l.Environment.Redis = settings.Version, l.Redis.Version(ctx)
	return l, nil
}

// RequireDurable refuses a server whose commits may be lost: its figures would
// mean nothing.
func (l *Lab) RequireDurable() error {
	if !l.settings.Durable() {
		return fmt.Errorf("the Postgres server must have fsync, synchronous_commit and full_page_writes on; it has %+v", l.settings)
	}
	return nil
}

func newID() string {
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return "bench_" + hex.EncodeToString(id[:])
}

// Build compiles a program of the repository, such as cmd/core.
func (l *Lab) Build(ctx context.Context, path string) (program string, err error) {
	return stack.Build(ctx, l.root, path, l.dir)
}

// CreateDatabase makes a database, a copy of another of the lab's unless that is
// empty, and DropDatabase removes it, at the latest when the lab closes. Names
// are the lab's own.
func (l *Lab) CreateDatabase(ctx context.Context, name, template string) error {
	if template != "" {
		template = l.id + template
	}
	if err := l.Postgres.Create(ctx, l.id+name, template); err != nil {
		return err
	}
	l.databases[name] = true
	return nil
}

// DropDatabase removes a database, whoever is connected to it.
func (l *Lab) DropDatabase(ctx context.Context, name string) error {
	delete(l.databases, name)
	return l.Postgres.Drop(ctx, l.id+name)
}

// Config is for the servers that work on a database. The namespace in Redis is
// the same for all, since a database remembers it and its copies do too: delete
// it between two that are published.
func (l *Lab) Config(database string) *stack.Config {
	return &stack.Config{
		DatabaseURL: l.Postgres.URL(l.id + database), RedisURL: l.redisURL, Namespace: l.id, Secret: l.Secret,
	}
}

// Close removes what the lab made.
func (l *Lab) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the caller's may have ended
	defer cancel()
	var errs []error
	if l.Postgres != nil {
		for name := range l.databases {
			errs = append(errs, l.Postgres.Drop(ctx, l.id+name))
		}
		errs = append(errs, l.Postgres.Close())
	}
	if l.Redis != nil {
		errs = append(errs, l.Redis.Delete(ctx, l.id), l.Redis.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// Progress tells on stderr what goes on.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
