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

// ParseRunID picks the server's run id out of INFO: it is another one after each
// restart and on each other server. Redis answers that differ (dev mode's has
// no such section) give an empty one, which compares with nothing.
func ParseRunID(info *redis.StringCmd) (string, error) {
	text, err := info.Result()
	if err != nil {
		var answer redis.Error
		if errors.As(err, &answer) && !unavailable(answer.Error()) {
			return "", nil
		}
		return "", err
	}
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", nil
}

// unavailable tells answers of a server that cannot serve now from those of one
// that does not know INFO's section.
func unavailable(answer string) bool {
	for _, prefix := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS"} {
		if strings.HasPrefix(answer, prefix) {
			return true
		}
	}
	return false
}

// RunIDs returns the run ids of all masters.
func RunIDs(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return ParseRunID(rdb.Info(ctx, "server"))
	}
	var mu sync.Mutex // protects ids: ForEachMaster asks side by side
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
		return "", fmt.Errorf("ask masters: %w", err)
	}
	slices.Sort(ids)
	return strings.Join(ids, ","), nil
}

// ClientFor returns a client of the server that holds a key.
func ClientFor(ctx context.Context, rdb redis.UniversalClient, key string) (redis.Cmdable, error) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return rdb, nil
}
