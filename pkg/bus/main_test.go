package bus_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain draws fewer worlds than rapid would by itself, since each takes a tenth of a second;
// -rapid.checks asks for more.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "25")
	goleak.VerifyTestMain(m)
}
