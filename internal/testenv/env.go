package testenv

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"testing"
	"time"
)

// timeout bounds every wait for a server; on a loaded machine a start takes a second or two.
const timeout = 30 * time.Second

// poll is the pause between two looks at a condition that nothing signals.
const poll = 5 * time.Millisecond

// lookup returns a variable of the environment, or ends the test with a message that names the way out.
func lookup(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: this test needs real servers.\n"+
			"Run ./scripts/test, or in your shell: eval \"$(./scripts/services up)\" (and later ./scripts/services down).", name)
	}
	return value
}

// unique returns 16 hexadecimal digits that no other test has.
func unique() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
