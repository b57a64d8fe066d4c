package relay_test

import (
	"flag"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	// rapid draws fewer worlds than by default, since each takes a tenth of a second. -rapid.checks asks for more.
	_ = flag.Set("rapid.checks", "25")
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
