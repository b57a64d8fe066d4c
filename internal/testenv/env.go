package testenv

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"testing"
	"time"
)

// timeout bounds every wait for a server. On a busy machine a server needs a second or two to
// start.
const timeout = 5 * time.Minute

// pollInterval is the pause between two checks of a condition that nothing signals.
const pollInterval = 5 * time.Millisecond

// requireEnv returns a variable of the environment. If it is not set, it ends the test with a
// message that says how to start the servers.
func requireEnv(t testing.TB, name string) string {
	t.Helper()

	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: this test needs real servers.\n"+
			"Run ./scripts/test, or in your shell: eval \"$(./scripts/services up)\" (and later ./scripts/services down).", name)
	}

	return value
}

// uniqueSuffix returns 16 random hexadecimal digits.
func uniqueSuffix() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
