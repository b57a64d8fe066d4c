package redisconn

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// layoutVersion is the version of the keys and their tags. Processes with different versions must
// not share a namespace.
const layoutVersion = "2"

// layoutFields are the fields of the hash at Keys.Layout.
var layoutFields = []string{"partitions", "tags", "version"}

// layoutScript stores a layout with all of its fields if there is none.
//
//go:embed layout.lua
var layoutSource string

var layoutScript = redis.NewScript(layoutSource)

// CheckLayout compares the layout of the namespace with that of keys: the number of partitions,
// their hash tags, and the version. If the namespace has no layout, it stores the one of keys. With
// another layout an account's new events would go to another stream than its earlier ones. The
// error is then ErrLayout and says which flag to set.
func CheckLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	found, err := compareLayout(ctx, rdb, keys)
	if err != nil || found {
		return err
	}

	args := []any{keys.Partitions, encodeTags(keys), layoutVersion}
	err = layoutScript.Run(ctx, rdb, []string{keys.Layout()}, args...).Err()
	if err != nil {
		return fmt.Errorf("store layout: %w", err)
	}

	return CompareLayout(ctx, rdb, keys) // another process may have stored its layout first
}

// CompareLayout is CheckLayout for read-only callers. It stores nothing, and returns an error if
// the namespace does not exist.
func CompareLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	keys = keys.WithDefaults()
	found, err := compareLayout(ctx, rdb, keys)
	if err == nil && !found {
		return fmt.Errorf("check layout: nothing in this Redis has the namespace %q", keys.Namespace)
	}

	return err
}

// compareStoredLayout is CheckLayout without storing anything. It returns nil if the namespace does
// not exist.
func compareStoredLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) error {
	_, err := FindLayout(ctx, rdb, keys)
	return err
}

// FindLayout is CheckLayout without storing anything. found is false if the namespace does not exist.
func FindLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) (found bool, err error) {
	return compareLayout(ctx, rdb, keys.WithDefaults())
}

// compareLayout compares the stored layout with that of keys. found is false if there is none.
func compareLayout(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) (found bool, err error) {
	values, err := rdb.HMGet(ctx, keys.Layout(), layoutFields...).Result()
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		return true, wrapOldLayout(keys, "the key must be a hash")
	}

	if err != nil {
		return false, fmt.Errorf("check layout: %w", err)
	}

	partitions, hasPartitions := values[0].(string)
	tags, hasTags := values[1].(string)
	version, hasVersion := values[2].(string)
	want := strconv.Itoa(keys.Partitions)

	switch {
	case !hasPartitions && !hasTags && !hasVersion:
		return false, nil
	case version != layoutVersion:
		return true, wrapOldLayout(keys, fmt.Sprintf("its version must be %s, got %q", layoutVersion, version))
	case partitions != want:
		return true, fmt.Errorf("%w: namespace %q in Redis has %s partitions, this process is set to %s; start it with --partitions %s, or with another --namespace",
			bus.ErrLayout, keys.Namespace, partitions, want, partitions)
	case tags != encodeTags(keys):
		return true, wrapOldLayout(keys, "its tags must be those of this version")
	}

	return true, nil
}

// wrapOldLayout returns the error of a layout that another version of the program stored.
func wrapOldLayout(keys bus.Keys, problem string) error {
	return fmt.Errorf("%w: %s in Redis is from another version of this program: %s; start the process with another --namespace, or stop all processes that use %q and delete the keys that start with %s: (the ledger loses nothing)",
		bus.ErrLayout, keys.Layout(), problem, keys.Namespace, keys.Namespace)
}

// encodeTags returns the JSON array of the hash tags.
func encodeTags(keys bus.Keys) string {
	tags, _ := json.Marshal(keys.Tags()) // a slice of strings can always be marshaled
	return string(tags)
}
