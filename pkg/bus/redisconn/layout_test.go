package redisconn_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func TestCheckLayoutRefusesAnotherPartitionCount(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		ctx := t.Context()
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
		expectLayoutError(t, rdb, other, "--partitions 4", "--namespace")
	})
}

// expectLayoutError checks that both functions return ErrLayout with these texts.
func expectLayoutError(t *testing.T, rdb redis.UniversalClient, keys bus.Keys, texts ...string) {
	t.Helper()
	failures := map[string]error{
		"CheckLayout":   redisconn.CheckLayout(t.Context(), rdb, keys),
		"CompareLayout": redisconn.CompareLayout(t.Context(), rdb, keys),
	}
	for name, err := range failures {
		if !errors.Is(err, bus.ErrLayout) {
			t.Errorf("%s: got error %v, want ErrLayout", name, err)
			continue
		}
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got error %v, want it to contain %q", name, err, text)
			}
		}
	}
}

// Consumers in other languages read the layout.
func TestCheckLayoutStoresTheTags(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		err := redisconn.CheckLayout(t.Context(), rdb, keys)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := rdb.HGetAll(t.Context(), keys.Layout()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(fields) != 3 {
			t.Errorf("got fields %v, want three", fields)
		}
		if fields["partitions"] != "4" {
			t.Errorf("partitions: got %s, want 4", fields["partitions"])
		}
		if fields["version"] != "2" {
			t.Errorf("version: got %s, want 2", fields["version"])
		}
		var tags []string
		err = json.Unmarshal([]byte(fields["tags"]), &tags)
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys.Partitions {
			key := keys.Namespace + ":{" + tags[i] + "}:events"
			if keys.Stream(i) != key {
				t.Errorf("stream of partition %d: got %s, want %s as in the layout", i, keys.Stream(i), key)
			}
		}
	})
}

// The layout of another version says what to do, and is not changed.
func TestCheckLayoutRefusesAnotherVersion(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		tags, _ := json.Marshal(keys.Tags()) // a slice of strings can always be marshaled
		tests := map[string]func() error{
			"a string": func() error {
				return rdb.Set(t.Context(), keys.Layout(), keys.Partitions, 0).Err()
			},
			"no version": func() error {
				return rdb.HSet(t.Context(), keys.Layout(), "partitions", 4, "tags", tags).Err()
			},
			"another version": func() error {
				return rdb.HSet(t.Context(), keys.Layout(), "partitions", 4, "tags", tags, "version", 3).Err()
			},
			"other tags": func() error {
				return rdb.HSet(t.Context(), keys.Layout(), "partitions", 4, "tags", `["0","1","2","3"]`, "version", 2).Err()
			},
		}
		for name, store := range tests {
			t.Run(name, func(t *testing.T) {
				err := errors.Join(rdb.Del(t.Context(), keys.Layout()).Err(), store())
				if err != nil {
					t.Fatal(err)
				}
				before := rdb.Dump(t.Context(), keys.Layout()).Val()
				expectLayoutError(t, rdb, keys, keys.Layout(), "--namespace", "delete the keys")
				if rdb.Dump(t.Context(), keys.Layout()).Val() != before {
					t.Error("the layout was changed")
				}
			})
		}
	})
}

// Of processes with different partition counts that start at once, exactly those with one of the
// counts succeed.
func TestCheckLayoutStoresOneOfManyLayouts(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		const processes = 8
		errs := make([]error, processes)
		var running sync.WaitGroup
		for i := range processes {
			running.Go(func() {
				own := bus.Keys{Namespace: keys.Namespace, Partitions: 1 + i/2}
				errs[i] = redisconn.CheckLayout(t.Context(), rdb, own)
			})
		}
		running.Wait()
		stored, err := rdb.HGet(t.Context(), keys.Layout(), "partitions").Int()
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			hasStored := 1+i/2 == stored
			if hasStored && err != nil {
				t.Errorf("%d partitions: got error %v, want none", stored, err)
			}
			if !hasStored && !errors.Is(err, bus.ErrLayout) {
				t.Errorf("%d partitions: got error %v, want ErrLayout", 1+i/2, err)
			}
		}
	})
}

// Redis puts each partition into the slot for which its tag was computed.
func TestRedisClusterAgreesOnSlots(t *testing.T) {
	rdb := streamtest.Open(t, streamtest.StartClusterOfOne(t).URL())
	keys := bus.Keys{}.WithDefaults()
	for i := range keys.Partitions {
		slot, err := rdb.ClusterKeySlot(t.Context(), keys.Stream(i)).Result()
		if err != nil {
			t.Fatal(err)
		}
		want := int64(i)*256 + 128
		if slot != want {
			t.Errorf("stream of partition %d: got slot %d, want %d", i, slot, want)
		}
	}
}

// A gateway has no right to write the layout, also on an empty Redis.
func TestReadOnlyWatchStoresNoLayout(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		w := redisconn.NewWatch(rdb, keys, redisconn.WatchConfig{ReadOnly: true})
		err := w.Check(t.Context())
		if err != nil {
			t.Errorf("without a layout: %v", err)
		}
		exists, err := rdb.Exists(t.Context(), keys.Layout()).Result()
		if err != nil || exists != 0 {
			t.Errorf("layouts: got %d (%v), want 0", exists, err)
		}

		other := bus.Keys{Namespace: keys.Namespace, Partitions: 8}
		err = redisconn.CheckLayout(t.Context(), rdb, other)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Check(t.Context())
		if !errors.Is(err, bus.ErrLayout) {
			t.Errorf("with another layout: got error %v, want ErrLayout", err)
		}
	})
}
