package wallet

import (
	"fmt"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// oldestVersion is the oldest schema that this program can work with.
const oldestVersion = 2

// TestMigrateWhileAnOlderCoreRuns has a core do operations on the oldest schema while two programs
// migrate the database. No operation fails.
func TestMigrateWhileAnOlderCoreRuns(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, testenv.Schema{})
	l := runOnOldestSchema(t, url)
	migrated := make(chan struct{})
	begun := make(chan struct{})
	callers := startCallers(t, l, begun, migrated)
	for range callers.count {
		<-begun
	}

	var migrators sync.WaitGroup
	for range 2 {
		migrators.Go(func() { checkError(t, "migrate", migrateDatabase(t.Context(), url), nil) })
	}
	migrators.Wait()
	close(migrated)
	callers.wg.Wait()
	states, err := Migrations(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range states {
		if m.AppliedAt.IsZero() {
			t.Errorf("migration %s was not applied", m.Name)
		}
	}
	checkLedger(t, l)
}

// runOnOldestSchema creates the oldest schema and runs a ledger on it. Open would refuse a schema
// that is older than the program.
func runOnOldestSchema(t *testing.T, url string) *Ledger {
	t.Helper()
	provider, err := newProvider(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	_, err = provider.UpTo(t.Context(), oldestVersion)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openPostgres(t.Context(), url, 8)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger(s, Config{}.withDefaults())
	runUntilCleanup(t, l)
	return l
}

// migrationCallers are goroutines that do operations while the schema changes.
type migrationCallers struct {
	count int
	wg    sync.WaitGroup
}

// startCallers starts callers that do operations until migrated is closed. Each caller sends on
// begun when it has done some operations, or when one has failed.
func startCallers(t *testing.T, l *Ledger, begun chan<- struct{}, migrated <-chan struct{}) *migrationCallers {
	const before = 20 // operations of a caller before the migration
	const atLeast = 40
	callers := &migrationCallers{count: 8}
	for c := range callers.count {
		callers.wg.Go(func() {
			reported := false
			for i := 0; i < atLeast || !isClosed(migrated); i++ {
				if i == before {
					begun <- struct{}{}
					reported = true
				}
				op := newCredit(Account(fmt.Sprint("user:", c)), 1, fmt.Sprint(c, "-", i))
				_, err := l.Do(t.Context(), op)
				if err != nil {
					t.Errorf("operation %d of caller %d: %v", i, c, err)
					break
				}
			}
			if !reported {
				begun <- struct{}{}
			}
		})
	}
	return callers
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
