package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ParseRunID returns the server's run id from the reply of INFO. It differs between servers and
// changes with each restart. It is empty, which must not be compared, if the server has no run id:
// the Redis of dev mode does not have this section.
func ParseRunID(info *redis.StringCmd) (string, error) {
	text, err := info.Result()
	if err != nil {
		var reply redis.Error
		isReply := errors.As(err, &reply)
		if isReply && !isUnavailable(reply.Error()) {
			return "", nil
		}

		return "", err
	}

	for line := range strings.Lines(text) {
		id, ok := strings.CutPrefix(line, "run_id:")
		if ok {
			return strings.TrimSpace(id), nil
		}
	}

	return "", nil
}

// isUnavailable reports whether an error reply means that the server cannot serve now. Other error
// replies mean that it does not know INFO's section.
func isUnavailable(reply string) bool {
	for _, prefix := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS"} {
		if strings.HasPrefix(reply, prefix) {
			return true
		}
	}

	return false
}

// RunIDs returns the run ids of all masters, sorted and joined by commas.
func RunIDs(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return ParseRunID(rdb.Info(ctx, "server"))
	}

	var mu sync.Mutex // protects ids, since ForEachMaster calls in parallel
	var ids []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		id, err := ParseRunID(c.Info(ctx, "server"))
		if err != nil {
			return err
		}

		mu.Lock()
		defer mu.Unlock()

		ids = append(ids, id)

		return nil
	})

	if err != nil {
		return "", fmt.Errorf("read run ids of masters: %w", err)
	}

	slices.Sort(ids)
	return strings.Join(ids, ","), nil
}

// ClientFor returns a client of the server that has the key.
func ClientFor(ctx context.Context, rdb redis.UniversalClient, key string) (redis.Cmdable, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if ok {
		return cluster.MasterForKey(ctx, key)
	}
	return rdb, nil
}
