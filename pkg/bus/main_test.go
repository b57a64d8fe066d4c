package bus_test

import (
	"flag"
	"os"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

// TestMain draws fewer worlds than rapid would by itself, since each takes a tenth of a second;
// -rapid.checks asks for more.
func TestMain(m *testing.M) {
	if url := os.Getenv(consumerRedis); url != "" {
		consume(url, os.Getenv(consumerNamespace))
		return
	}
	redislog.Disable()
	_ = flag.Set("rapid.checks", "25")
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
