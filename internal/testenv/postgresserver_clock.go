//go:build unix

package testenv

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// ShiftClock starts the server again with a clock that is ahead of this machine's, or behind it if
// lead is negative. The library libfaketime shifts it.
func (s *PostgresServer) ShiftClock(lead time.Duration) {
	s.t.Helper()

	s.env = []string{
		"LD_PRELOAD=" + findClockLibrary(s.t),
		fmt.Sprintf("FAKETIME=%+fs", lead.Seconds()),
		"FAKETIME_DONT_FAKE_MONOTONIC=1", // its timeouts stay as they are
		"NO_FAKE_STAT=1",
	}
	s.Stop()
	s.Start()
}

func findClockLibrary(t testing.TB) string {
	t.Helper()

	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1") // the pattern is well formed
	if len(found) == 0 {
		t.Fatal("libfaketime must be in /usr/lib/*/faketime; on Debian: apt-get install libfaketime")
	}
	return found[0]
}
