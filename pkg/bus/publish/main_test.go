package publish_test

import (
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	// After many failed dials go-redis probes in a goroutine that sleeps for up to a second after
	// its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
