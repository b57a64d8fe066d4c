package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// CheckLayout stores the partition count of the namespace, or compares it with the stored one. With
// another count an account's new events would go to another stream than its earlier ones. The error
// is then ErrLayout and names the flag to set.
func CheckLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	err := rdb.SetNX(ctx, keys.Layout(), strconv.Itoa(keys.Partitions), 0).Err()
	if err != nil {
		return fmt.Errorf("check layout: %w", err)
	}

	return CompareLayout(ctx, rdb, keys)
}

// CompareLayout is CheckLayout for read-only callers. It stores nothing, and returns an error if
// the namespace does not exist.
func CompareLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	want := strconv.Itoa(keys.Partitions)
	got, err := rdb.Get(ctx, keys.Layout()).Result()

	switch {
	case errors.Is(err, redis.Nil):
		return fmt.Errorf("check layout: nothing in this Redis has the namespace %q", keys.Namespace)
	case err != nil:
		return fmt.Errorf("check layout: %w", err)
	case got != want:
		return fmt.Errorf("%w: namespace %q in Redis has %s partitions, this process is set to %s; start it with --partitions %s, or with another --namespace",
			bus.ErrLayout, keys.Namespace, got, want, got)
	}

	return nil
}
