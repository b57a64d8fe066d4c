package relay_test

import (
	"flag"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	// A check takes a tenth of a second, so run fewer of them than rapid's default. -rapid.checks
	// sets another number.
	_ = flag.Set("rapid.checks", "25")
	// After many failed dials go-redis probes in a goroutine that sleeps for up to a second after
	// its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
