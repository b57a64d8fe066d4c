// Package harnesstest opens harnesses for tests.
package harnesstest

import (
	"os"
	"testing"

	"github.com/redroomrewards/realtime/bench/harness"
)

// Open opens the harness of a benchmark. It is closed when the test ends.
func Open(t testing.TB, name string) *harness.Harness {
	t.Helper()
	h, err := harness.Open(t.Context(), name, nil, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		err := h.Close()
		if err != nil {
			t.Error(err)
		}
	})
	return h
}
