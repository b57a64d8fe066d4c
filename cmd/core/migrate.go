package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply the migrations that are missing. Two at once are safe."`
	Status migrateStatusCmd `cmd:"" help:"List all migrations and when each was applied."`
}

type databaseFlag struct {
	DatabaseURL string `name:"database-url" required:"" placeholder:"URL" help:"Where the ledger lives: postgres://user:password@host/name, or sqlite:PATH."`
}

// check refuses what cannot be read as a URL, before anybody repeats it with its
// password in an error.
func (f databaseFlag) check() error {
	if path, ok := strings.CutPrefix(f.DatabaseURL, "sqlite:"); ok && path != "" {
		return nil
	}
	u, err := url.Parse(f.DatabaseURL)
	switch {
	case err != nil:
		return cli.Usage("--database-url", "cannot be read as a URL; user, password and host may need percent-encoding")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return cli.Usage("--database-url", "is postgres://user:password@host/name or sqlite:PATH")
	}
	return nil
}

// explainDatabase adds what to do to an error of opening the ledger.
func explainDatabase(err error) error {
	switch {
	case errors.Is(err, wallet.ErrNotMigrated):
		return fmt.Errorf("%w: run `core migrate up` with the same --database-url first", err)
	case errors.Is(err, wallet.ErrNoFile):
		return fmt.Errorf("--database-url: %w; `core migrate up` makes a new one", err)
	}
	return fmt.Errorf("--database-url: %w", err)
}

type migrateUpCmd struct{ databaseFlag }

// Run applies what is missing.
func (c migrateUpCmd) Run(env *cli.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	applied, err := wallet.Migrate(env.Context, c.DatabaseURL)
	if err != nil {
		return err
	}
	for _, m := range applied {
		if _, err := fmt.Fprintf(env.Stdout, "applied %s\n", m.Name); err != nil {
			return err
		}
	}
	if len(applied) == 0 {
		_, err = fmt.Fprintln(env.Stdout, "nothing to do: the schema is current")
	}
	return err
}

type migrateStatusCmd struct{ databaseFlag }

// Run lists the migrations.
func (c migrateStatusCmd) Run(env *cli.Env) error {
	if err := c.check(); err != nil {
		return err
	}
	all, err := wallet.Migrations(env.Context, c.DatabaseURL)
	if err != nil {
		return explainDatabase(err)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range all {
		at := "missing"
		if !m.AppliedAt.IsZero() {
			at = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", m.Version, m.Name, at) // Flush reports
	}
	return w.Flush()
}
