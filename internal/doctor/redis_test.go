package doctor_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	miniserver "github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/doctor"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// redisWorld is a Redis of one test.
type redisWorld struct {
	*testing.T
	server *testenv.Server
	admin  *redis.Client
}

func startRedis(t *testing.T, args ...string) *redisWorld {
	t.Helper()
	server := testenv.RedisServer(t, args...)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = admin.Close() })
	return &redisWorld{T: t, server: server, admin: admin}
}

func (w *redisWorld) do(args ...any) {
	w.Helper()
	err := w.admin.Do(context.WithoutCancel(w.Context()), args...).Err()
	if err != nil {
		w.Fatalf("%v: %v", args, err)
	}
}

func (w *redisWorld) config() doctor.RedisConfig {
	return doctor.RedisConfig{
		URL:    w.server.URL() + "?dial_timeout=60s&read_timeout=60s", // the machine may be slow
		Keys:   bus.Keys{}.WithDefaults(),
		Rights: doctor.CoreRights,
	}
}

func (w *redisWorld) run() []doctor.Result {
	w.Helper()
	return runArea(w.T, doctor.Redis(w.config()))
}

// Each case changes the settings of a Redis that is set up well, and sets them back.
func TestRedis(t *testing.T) {
	t.Parallel()
	w := startRedis(t, "--appendonly", "yes")
	results := w.run()
	for _, r := range results {
		if r.Status != doctor.OK {
			t.Errorf("got %s %s: %s; want ok", r.Status, r.Check, r.Found)
		}
	}

	set := func(name string, value any) func() { return func() { w.do("config", "set", name, value) } }
	both := func(a, b func()) func() { return func() { a(); b() } }
	for _, tc := range []struct {
		name    string
		setUp   func()
		restore func()
		want    finding
	}{
		{
			"eviction", both(set("maxmemory", "1gb"), set("maxmemory-policy", "allkeys-lru")),
			both(set("maxmemory", 0), set("maxmemory-policy", "noeviction")),
			finding{doctor.Fail, "redis/eviction", "maxmemory-policy is allkeys-lru, so Redis deletes"},
		},
		{
			"eviction later", set("maxmemory-policy", "volatile-ttl"), set("maxmemory-policy", "noeviction"),
			finding{doctor.Warn, "redis/eviction", "when maxmemory is set"},
		},
		{
			"full", set("maxmemory", 1), set("maxmemory", 0),
			finding{doctor.Fail, "redis/memory", "% of maxmemory are used"},
		},
		{
			"full, so writes are refused", set("maxmemory", 1), set("maxmemory", 0),
			finding{doctor.Fail, "redis/writes", "OOM"},
		},
		{
			"snapshots only", both(set("appendonly", "no"), set("save", "3600 1")), set("save", ""),
			finding{doctor.Warn, "redis/persistence", "newer than the last snapshot"},
		},
		{
			"nothing on disk", set("appendonly", "no"), set("appendonly", "yes"),
			finding{doctor.Warn, "redis/persistence", "a restart is empty"},
		},
		{
			"replica", func() { w.do("replicaof", "127.0.0.1", "1") }, func() { w.do("replicaof", "no", "one") },
			finding{doctor.Fail, "redis/role", "a replica"},
		},
		{
			"replica refuses writes", func() { w.do("replicaof", "127.0.0.1", "1") }, func() { w.do("replicaof", "no", "one") },
			finding{doctor.Fail, "redis/writes", "READONLY"},
		},
		{
			"too few replicas", set("min-replicas-to-write", 1), set("min-replicas-to-write", 0),
			finding{doctor.Fail, "redis/writes", "NOREPLICAS"},
		},
		{
			"other partitions", func() { w.claim(8) }, func() { w.do("del", "rt:layout") },
			finding{doctor.Fail, "redis/layout", "has 8 partitions"},
		},
		{
			"same partitions", func() { w.claim(64) }, func() { w.do("del", "rt:layout") },
			finding{doctor.OK, "redis/layout", "rt/64"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.setUp()
			defer tc.restore()
			tc.want.expect(t, w.run())
		})
	}

	t.Run("nothing was written", func(t *testing.T) {
		keys, err := w.admin.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) > 0 {
			t.Errorf("got keys %v and %v, want none", keys, err)
		}
	})
	t.Run("malformed URL", func(t *testing.T) {
		cfg := w.config()
		cfg.URL = "http://127.0.0.1"
		finding{doctor.Fail, "redis/url", "scheme"}.expect(t, runArea(t, doctor.Redis(cfg)))
	})
	t.Run("wrong password", func(t *testing.T) {
		cfg := w.config()
		cfg.URL = "redis://core:wrong@" + w.server.Addr()
		finding{doctor.Fail, "redis/reachable", "WRONGPASS"}.expect(t, runArea(t, doctor.Redis(cfg)))
	})
	t.Run("nothing listens", func(t *testing.T) {
		cfg := w.config()
		cfg.URL = "redis://127.0.0.1:1/0"
		finding{doctor.Fail, "redis/reachable", "refused"}.expect(t, runArea(t, doctor.Redis(cfg)))
	})
}

// A server answers INFO as a Redis does that is old and whose clock is wrong. It is an embedded one,
// because Debian's Redis is new, and libfaketime cannot shift the clock of a program with jemalloc.
func TestOldRedisWithWrongClock(t *testing.T) {
	t.Parallel()
	wrong := time.Now().Add(-time.Hour)
	info := startRedis(t).readInfo(map[string]string{
		"redis_version":    "6.0.16",
		"server_time_usec": strconv.FormatInt(wrong.UnixMicro(), 10),
	})
	server := miniredis.RunT(t)
	server.Server().SetPreHook(func(c *miniserver.Peer, command string, _ ...string) (isAnswered bool) {
		if command != "INFO" {
			return false
		}
		c.WriteBulk(info)
		return true
	})
	results := runArea(t, doctor.Redis(doctor.RedisConfig{
		URL:    "redis://" + server.Addr() + "?dial_timeout=60s&read_timeout=60s", // the machine may be slow
		Keys:   bus.Keys{}.WithDefaults(),
		Rights: doctor.CoreRights,
	}))
	finding{doctor.Fail, "redis/version", "6.0.16"}.expect(t, results)
	finding{doctor.Fail, "redis/clock", "behind this machine's"}.expect(t, results)
}

// readInfo returns the answer of INFO, with other values of the given fields.
func (w *redisWorld) readInfo(values map[string]string) string {
	w.Helper()
	var text strings.Builder
	for line := range strings.Lines(w.admin.Info(w.Context()).Val()) {
		name, _, _ := strings.Cut(line, ":")
		value, isChanged := values[name]
		if isChanged {
			line = name + ":" + value + "\r\n"
			delete(values, name)
		}
		text.WriteString(line)
	}
	if len(values) > 0 {
		w.Fatalf("INFO must have the fields %v", slices.Collect(maps.Keys(values)))
	}
	return text.String()
}

// claim stores a layout as a core does.
func (w *redisWorld) claim(partitions int) {
	w.Helper()
	err := redisconn.CheckLayout(w.Context(), w.admin, bus.Keys{Namespace: "rt", Partitions: partitions})
	if err != nil {
		w.Fatal(err)
	}
}

// A save fails because the directory of the server is gone.
func TestRedisThatCannotSave(t *testing.T) {
	t.Parallel()
	w := startRedis(t)
	w.do("config", "set", "save", "3600 1")
	directory := w.admin.ConfigGet(t.Context(), "dir").Val()["dir"]
	err := os.RemoveAll(directory)
	if err != nil {
		t.Fatal(err)
	}
	w.do("bgsave")
	deadline := time.Now().Add(testTimeout)
	for !strings.Contains(w.admin.Info(t.Context(), "persistence").Val(), "rdb_last_bgsave_status:err") {
		if time.Now().After(deadline) {
			t.Fatalf("no save failed within %s", testTimeout)
		}
	}
	results := w.run()
	finding{doctor.Fail, "redis/persistence", "the last save to the disk failed"}.expect(t, results)
	finding{doctor.Fail, "redis/writes", "MISCONF"}.expect(t, results)
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	_, busPort, _ := net.SplitHostPort(testenv.FreeAddr(t)) // by default another program may have it
	w := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", busPort)
	finding{doctor.Fail, "redis/cluster", "belongs to a cluster"}.expect(t, w.run())

	w.do("cluster", "addslotsrange", 0, 8000)
	cfg := w.config()
	cfg.URL = strings.Replace(cfg.URL, "redis://", "redis+cluster://", 1)
	cfg.URL = strings.Replace(cfg.URL, "/0?", "?", 1)
	finding{doctor.Fail, "redis/cluster", "only 8001 of 16384 slots"}.expect(t, runArea(t, doctor.Redis(cfg)))

	w.do("cluster", "addslotsrange", 8001, 16383)
	deadline := time.Now().Add(testTimeout)
	for !strings.Contains(w.admin.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
		if time.Now().After(deadline) {
			t.Fatalf("the cluster is not complete within %s", testTimeout)
		}
	}
	results := runArea(t, doctor.Redis(cfg))
	finding{doctor.OK, "redis/cluster", "all slots"}.expect(t, results)
	expectOnly(t, results)
}

// readUser returns the words after the password in the line of docs/redis-acl.md.
func readUser(t *testing.T, user string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/redis-acl.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\nuser "+user+" on ")
	line, _, found := strings.Cut(rest, "\n")
	if !found {
		t.Fatalf("docs/redis-acl.md must have a line for %s", user)
	}
	return strings.Fields(line)[1:]
}

// The users of docs/redis-acl.md have all rights. Without any of their commands or keys, the check names
// what is missing.
func TestRightsOfRedisUsers(t *testing.T) {
	t.Parallel()
	w := startRedis(t)
	for user, rights := range map[string]doctor.Rights{"core": doctor.CoreRights, "gateway": doctor.GatewayRights} {
		words := readUser(t, user)
		cfg := w.config()
		cfg.URL = fmt.Sprintf("redis://%s:x@%s/0", user, w.server.Addr())
		cfg.Rights = rights
		setUser := func(words []string) {
			args := []any{"acl", "setuser", user, "reset", "on", ">x"}
			for _, word := range words {
				args = append(args, word)
			}
			w.do(args...)
		}
		check := func(t *testing.T, want finding, without string) {
			left := slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == without })
			setUser(left)
			want.expect(t, runArea(t, doctor.Redis(cfg)))
		}

		t.Run(user, func(t *testing.T) {
			check(t, finding{doctor.OK, "redis/rights", "may make all of its calls"}, "")
		})
		for _, word := range words {
			want := finding{doctor.Fail, "redis/rights", strings.TrimLeft(word, "+&")}
			switch {
			case word == "resetchannels": // takes rights away
				continue
			case word == "+ping", word == "+info":
				want = finding{doctor.Fail, "redis/reachable", "NOPERM"}
			case strings.Contains(word, "~"):
				want.mentions = "rt:"
			}
			t.Run(user+" without "+word, func(t *testing.T) { check(t, want, word) })
		}
	}
}
