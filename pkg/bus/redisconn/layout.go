package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// CheckLayout writes down the partition count for the namespace or, when there
// is one already, compares it: with another count an account's events would go
// to another stream than its earlier ones. The error is ErrLayout then and says
// which flag to set.
func CheckLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	if err := rdb.SetNX(ctx, keys.Layout(), strconv.Itoa(keys.Partitions), 0).Err(); err != nil {
		return fmt.Errorf("check layout: %w", err)
	}
	return CompareLayout(ctx, rdb, keys)
}

// CompareLayout is CheckLayout for who only looks on: it writes nothing down, and
// a namespace that Redis does not know is an error.
func CompareLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	want := strconv.Itoa(keys.Partitions)
	switch have, err := rdb.Get(ctx, keys.Layout()).Result(); {
	case errors.Is(err, redis.Nil):
		return fmt.Errorf("check layout: nothing in this Redis has the namespace %q", keys.Namespace)
	case err != nil:
		return fmt.Errorf("check layout: %w", err)
	case have != want:
		return fmt.Errorf("%w: namespace %q in Redis has %s partitions, this process is set to %s; start it with --partitions %s, or with another --namespace",
			bus.ErrLayout, keys.Namespace, have, want, have)
	}
	return nil
}
