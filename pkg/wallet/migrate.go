package wallet

import (
	"context"
	"time"
)

// MigrationStatus is one schema migration and when it was applied.
type MigrationStatus struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero: not yet
}

// Migrate brings the database at the URL to the current schema; two at once are
// safe. It returns what it applied.
func Migrate(ctx context.Context, url string) ([]MigrationStatus, error) { panic("being written") }

// Migrations lists all schema migrations.
func Migrations(ctx context.Context, url string) ([]MigrationStatus, error) { panic("being written") }
