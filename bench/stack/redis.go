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

// Redis is the server of the event streams.
type Redis struct {
	redis.UniversalClient
}

// OpenRedis connects to the server that the URL names.
func OpenRedis(ctx context.Context, url string) (*Redis, error) {
	rdb, err := redisconn.Open(url)
	if err != nil {
		return nil, err
	}

	err = rdb.Ping(ctx).Err()
	if err != nil {
		_ = rdb.Close()
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	return &Redis{rdb}, nil
}

// Version returns the version of the server.
func (r *Redis) Version(ctx context.Context) string {
	return r.Field(ctx, "server", "redis_version")
}

// PID returns the process id of the server. It is 0 if the server is not on this machine.
func (r *Redis) PID(ctx context.Context) int {
	pid, err := strconv.Atoi(r.Field(ctx, "server", "process_id"))
	if err != nil {
		return 0
	}

	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0
	}
	if !strings.Contains(string(name), "redis") && !strings.Contains(string(name), "valkey") {
		return 0
	}
	return pid
}

// CPU returns the CPU time that the server has used. It is 0 if the server does not report it.
func (r *Redis) CPU(ctx context.Context) time.Duration {
	var sum time.Duration
	names := []string{"used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children"}
	for _, name := range names {
		seconds, err := strconv.ParseFloat(r.Field(ctx, "cpu", name), 64)
		if err != nil {
			return 0
		}

		sum += time.Duration(seconds * float64(time.Second))
	}

	return sum
}

// Field returns a field of a section of INFO. It is empty if there is no such field.
func (r *Redis) Field(ctx context.Context, section, name string) string {
	text, err := r.Info(ctx, section).Result()
	if err != nil {
		return ""
	}

	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(line, name+":")
		if found {
			return strings.TrimSpace(value)
		}
	}

	return ""
}

// Entries returns the number of entries in the streams of a namespace.
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
			err := r.Unlink(ctx, keys...).Err()
			if err != nil {
				return err
			}
		}

		if next == 0 {
			return nil
		}

		cursor = next
	}
}
