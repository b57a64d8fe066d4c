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
		err := redisconn.CompareLayout(ctx, rdb, other) // must not store 8 partitions
		if err == nil || !strings.Contains(err.Error(), keys.Namespace) {
			t.Errorf("unknown namespace: got error %v, want one that names it", err)
		}
		for range 2 {
			err := errors.Join(redisconn.CheckLayout(ctx, rdb, keys), redisconn.CompareLayout(ctx, rdb, keys))
			if err != nil {
				t.Fatal(err)
			}
		}
		failures := map[string]error{
			"CheckLayout":   redisconn.CheckLayout(ctx, rdb, other),
			"CompareLayout": redisconn.CompareLayout(ctx, rdb, other),
		}
		for name, err := range failures {
			if !errors.Is(err, bus.ErrLayout) {
				t.Fatalf("%s: got error %v, want ErrLayout", name, err)
			}
			for _, flag := range []string{"--partitions 4", "--namespace"} {
				if !strings.Contains(err.Error(), flag) {
					t.Errorf("%s: got error %v, want it to name %s", name, err, flag)
				}
			}
		}
	})
}
