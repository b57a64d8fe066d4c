package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply the missing migrations. It is safe to run this twice at the same time."`
	Status migrateStatusCmd `cmd:"" help:"List all migrations and when each was applied."`
}

type databaseFlag struct {
	DatabaseURL     string `name:"database-url" required:"" placeholder:"URL" help:"Database of the ledger: postgres://user:password@host/name or sqlite:PATH." group:"Database"`
	DatabaseURLFile string `name:"database-url-file" placeholder:"FILE" help:"File with the URL, which contains a password." group:"Database"`
}

// validate requires a URL that can be used. The database drivers would quote an invalid one, with its
// password, in their errors.
func (f databaseFlag) validate() error {
	err := wallet.CheckURL(f.DatabaseURL)
	if err != nil {
		return cli.Usage("--database-url", "%v", err)
	}
	return nil
}

// explainDatabase adds the fix to an error of opening the ledger.
func explainDatabase(err error) error {
	switch {
	case errors.Is(err, wallet.ErrNotMigrated):
		return fmt.Errorf("%w: run `core migrate up` with the same --database-url first", err)
	case errors.Is(err, wallet.ErrNoFile):
		return fmt.Errorf("--database-url: %w; run `core migrate up` to create the file", err)
	}
	return fmt.Errorf("--database-url: %w", err)
}

type migrateUpCmd struct{ databaseFlag }

// Run applies the missing migrations.
func (c migrateUpCmd) Run(env *cli.Env) error {
	err := c.validate()
	if err != nil {
		return err
	}
	applied, err := wallet.Migrate(env.Context, c.DatabaseURL)
	if err != nil {
		return err
	}

	for _, m := range applied {
		_, err = fmt.Fprintf(env.Stdout, "applied %s\n", m.Name)
		if err != nil {
			return err
		}
	}
	if len(applied) == 0 {
		_, err = fmt.Fprintln(env.Stdout, "no migrations are missing")
	}
	return err
}

type migrateStatusCmd struct{ databaseFlag }

// Help explains the exit codes.
func (migrateStatusCmd) Help() string {
	return "Exit codes: 0, all migrations were applied; 1, some are missing; 2, wrong usage, or the database could not be read."
}

// errMissingMigrations is the error of a database that is not current.
var errMissingMigrations = errors.New("migrations are missing; run core migrate up")

// Run lists the migrations.
func (c migrateStatusCmd) Run(env *cli.Env) error {
	err := c.validate()
	if err != nil {
		return err
	}
	migrations, err := wallet.Migrations(env.Context, c.DatabaseURL)
	if err != nil {
		return cli.Unable(explainDatabase(err))
	}

	missing := 0
	w := newTable(env.Stdout)
	for _, m := range migrations {
		at := m.AppliedAt.UTC().Format(time.RFC3339)
		if m.AppliedAt.IsZero() {
			at = "missing"
			missing++
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", m.Version, m.Name, at) // Flush returns the error
	}
	err = w.Flush()
	switch {
	case err != nil:
		return cli.Unable(err)
	case missing > 0:
		return fmt.Errorf("%d %w", missing, errMissingMigrations)
	}
	return nil
}
