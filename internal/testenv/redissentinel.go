package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelMaster is the sentinels' name of the master.
const SentinelMaster = "points"

// Sentinels are three Redis Sentinels of one test. Their methods end the test if they fail.
type Sentinels struct {
	t     testing.TB
	addrs []string
}

// RedisSentinels starts three sentinels that watch the master at an address (host:port), and returns
// when they know the master's replicas. A replica takes the place of a master that does not answer for
// downAfter.
func RedisSentinels(t testing.TB, master string, replicas int, downAfter time.Duration) *Sentinels {
	t.Helper()

	host, port, err := net.SplitHostPort(master)
	if err != nil {
		t.Fatalf("address of the master: %v", err)
	}

	s := &Sentinels{t: t}
	for range 3 {
		server := &Server{t: t, program: findRedis(t), port: reservePort(t), dir: t.TempDir()}
		config := fmt.Sprintf(`bind 127.0.0.1
port %[1]d
dir %[2]q
sentinel monitor %[3]s %[4]s %[5]s 2
sentinel down-after-milliseconds %[3]s %[6]d
sentinel failover-timeout %[3]s 5000
`, server.port, server.dir, SentinelMaster, host, port, downAfter.Milliseconds())
		file := filepath.Join(server.dir, "sentinel.conf") // a sentinel writes into it
		err := os.WriteFile(file, []byte(config), 0o600)
		if err != nil {
			t.Fatalf("write the sentinel's settings: %v", err)
		}

		server.process = StartProcess(t, server.dir, server.program, []string{file, "--sentinel"}, nil)
		server.waitUntilReady()
		s.addrs = append(s.addrs, server.Addr())
	}

	for _, addr := range s.addrs {
		s.waitForView(addr, replicas)
	}

	return s
}

// waitForView waits until a sentinel knows the replicas and the other sentinels.
func (s *Sentinels) waitForView(addr string, replicas int) {
	s.t.Helper()

	client := redis.NewSentinelClient(&redis.Options{Addr: addr})
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), timeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for {
		state, err := client.Master(ctx, SentinelMaster).Result()
		if err == nil && state["num-slaves"] == strconv.Itoa(replicas) && state["num-other-sentinels"] == "2" {
			return
		}

		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("not within %s: a sentinel knows %d replicas and 2 sentinels; got %v and error %v", timeout, replicas, state, err)
		}
	}
}

// URL returns redis+sentinel:// with the addresses of all sentinels.
func (s *Sentinels) URL() string {
	return "redis+sentinel://" + s.addrs[0] + "/0?master=" + SentinelMaster + "&addr=" + s.addrs[1] + "&addr=" + s.addrs[2]
}

// Failover makes a replica the master. It returns an error if the sentinels do not allow it now.
func (s *Sentinels) Failover() error {
	client := redis.NewSentinelClient(&redis.Options{Addr: s.addrs[0]})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return client.Failover(ctx, SentinelMaster).Err()
}

// Master returns the address of the present master, as the first sentinel sees it.
func (s *Sentinels) Master() string {
	s.t.Helper()

	client := redis.NewSentinelClient(&redis.Options{Addr: s.addrs[0]})
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), timeout)
	defer cancel()

	parts, err := client.GetMasterAddrByName(ctx, SentinelMaster).Result()
	if err != nil || len(parts) != 2 {
		s.t.Fatalf("ask a sentinel for the master: got %v and error %v", parts, err)
	}

	return net.JoinHostPort(parts[0], parts[1])
}
