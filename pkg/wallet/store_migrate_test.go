package wallet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestMigrateWhileAnOlderCoreRuns has a core at work on the oldest schema that
// this program can work with, while two others migrate: nothing fails.
func TestMigrateWhileAnOlderCoreRuns(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, testenv.Schema{})
	p, err := newProvider(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := p.UpTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	s, err := openPostgres(t.Context(), url, 8) // Open refuses what is older than this program
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger(s, Config{}.withDefaults())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	}()

	const before, after = 20, 40 // operations of each caller before and in all
	begun, migrated := make(chan struct{}, 8), make(chan struct{})
	var callers, migrators sync.WaitGroup
	for c := range cap(begun) {
		callers.Go(func() {
			for i := 0; i < after || !closed(migrated); i++ {
				if i == before {
					begun <- struct{}{}
				}
				if _, err := l.Do(t.Context(), creditOf(Account(fmt.Sprint("user:", c)), 1, fmt.Sprint(c, "-", i))); err != nil {
					t.Errorf("operation %d: %v", i, err)
					break
				}
			}
			if t.Failed() {
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	for range 2 {
		migrators.Go(func() {
			if _, err := Migrate(t.Context(), url); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	migrators.Wait()
	close(migrated)
	callers.Wait()
	states, err := Migrations(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range states {
		if m.AppliedAt.IsZero() {
			t.Errorf("%s was not applied", m.Name)
		}
	}
	if r, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
