package stack

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// Redis is the server that the events go through.
type Redis struct {
	redis.UniversalClient
}

// OpenRedis connects to the server that the URL names.
func OpenRedis(ctx context.Context, url string) (*Redis, error) {
	rdb, err := redisconn.Open(url)
	if err != nil {
		return nil, err
	}
	if err := rdb.Ping(ctx).Err(); err != nil {
		_ = rdb.Close()
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	return &Redis{rdb}, nil
}

// Version is the server's version.
func (r *Redis) Version(ctx context.Context) string { return r.Field(ctx, "server", "redis_version") }

// PID is the server's process id, 0 when it is not on this machine.
func (r *Redis) PID(ctx context.Context) int {
	pid, err := strconv.Atoi(r.Field(ctx, "server", "process_id"))
	if err != nil {
		return 0
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || !(strings.Contains(string(name), "redis") || strings.Contains(string(name), "valkey")) {
		return 0
	}
	return pid
}

// CPU is the CPU time that the server has used, 0 when it does not tell.
func (r *Redis) CPU(ctx context.Context) time.Duration {
	var sum time.Duration
	for _, name := range []string{"used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children"} {
		seconds, err := strconv.ParseFloat(r.Field(ctx, "cpu", name), 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(seconds * float64(time.Second))
	}
	return sum
}

// Field is one of a section of INFO, empty when there is none.
func (r *Redis) Field(ctx context.Context, section, name string) string {
	text, err := r.Info(ctx, section).Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Entries counts the entries of a namespace's streams.
func (r *Redis) Entries(ctx context.Context, namespace string) (int64, error) {
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	var sum int64
	for p := range keys.Partitions {
		n, err := r.XLen(ctx, keys.Stream(p)).Result()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Delete removes all keys that begin with a namespace.
func (r *Redis) Delete(ctx context.Context, namespace string) error {
	var cursor uint64
	for {
		keys, next, err := r.Scan(ctx, cursor, namespace+"*", 5000).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := r.Unlink(ctx, keys...).Err(); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
