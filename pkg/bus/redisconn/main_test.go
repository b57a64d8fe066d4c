package redisconn_test

import (
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	goleak.VerifyTestMain(m)
}
