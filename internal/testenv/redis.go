package testenv

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis returns the URL of the shared Redis server and a namespace for this test. It deletes all
// keys that begin with the namespace and a colon when the test ends. A test must not write other
// keys, and must not flush.
func Redis(t testing.TB) (url, namespace string) {
	t.Helper()

	url = requireEnv(t, "TEST_REDIS_URL")
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("parse TEST_REDIS_URL: %v", err)
	}

	namespace = "testenv-" + uniqueSuffix()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout) // the test's context has ended
		defer cancel()
		client := redis.NewClient(options)
		defer client.Close()
		err := deleteKeys(ctx, client, namespace+":*")
		if err != nil {
			t.Errorf("delete the test's keys: %v", err)
		}
	})

	return url, namespace
}

func deleteKeys(ctx context.Context, client *redis.Client, pattern string) error {
	var cursor uint64
	for {
		keys, next, err := client.Scan(ctx, cursor, pattern, 1000).Result()
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}

		if len(keys) > 0 {
			err := client.Unlink(ctx, keys...).Err()
			if err != nil {
				return fmt.Errorf("unlink: %w", err)
			}
		}

		if next == 0 {
			return nil
		}

		cursor = next
	}
}
