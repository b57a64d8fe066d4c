package redisconn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func TestCheckLayoutRefusesAnotherPartitionCount(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		ctx := context.Background()
		other := bus.Keys{Namespace: keys.Namespace, Partitions: 8}
		if err := redisconn.CompareLayout(ctx, rdb, other); err == nil || !strings.Contains(err.Error(), keys.Namespace) {
			t.Errorf("a namespace that is not there: %v", err) // and 8 is not written down
		}
		for range 2 {
			if err := errors.Join(redisconn.CheckLayout(ctx, rdb, keys), redisconn.CompareLayout(ctx, rdb, keys)); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{redisconn.CheckLayout(ctx, rdb, other), redisconn.CompareLayout(ctx, rdb, other)} {
			if !errors.Is(err, bus.ErrLayout) || !strings.Contains(err.Error(), "--partitions 4") || !strings.Contains(err.Error(), "--namespace") {
				t.Errorf("error = %v; want one that names the flags", err)
			}
		}
	})
}
