// Package labtest opens labs for tests.
package labtest

import (
	"os"
	"testing"

	"github.com/redroomrewards/realtime/bench/lab"
)

// Open opens a benchmark's lab, which is closed when the test ends.
func Open(t testing.TB, name string) *lab.Lab {
	t.Helper()
	l, err := lab.Open(t.Context(), name, nil, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}
