// Package streamtest has what the tests of the packages below pkg/bus share: the Redis servers
// that a test runs on, groups of deliveries, and looks at what is in the streams.
package streamtest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// OnEachRedis runs a test on a real Redis and on the one that dev mode embeds.
func OnEachRedis(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys)) {
	t.Run("redis", func(t *testing.T) {
		rdb, keys := Redis(t)
		run(t, rdb, keys)
	})
	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		run(t, Open(t, "redis://"+server.Addr()), bus.Keys{Namespace: "test", Partitions: 4})
	})
}

// Redis opens the shared Redis, with a namespace for this test.
func Redis(t testing.TB) (redis.UniversalClient, bus.Keys) {
	t.Helper()
	url, namespace := testenv.Redis(t)
	return Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4}
}

// Open opens a client and closes it when the test ends.
func Open(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// ClusterOfOne starts a Redis Cluster with a single node, which serves all slots.
func ClusterOfOne(t testing.TB) *testenv.Server {
	t.Helper()
	// The port that Redis would choose, 10,000 above its own, may be out of range.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, busPort, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	server := testenv.RedisServer(t, "--cluster-enabled", "yes", "--cluster-port", busPort)
	rdb := Open(t, server.URL())
	if err := rdb.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	WaitFor(t, "the cluster", func() bool {
		return strings.Contains(rdb.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	return server
}

// WaitFor polls a condition until it holds. It ends the test after a minute.
func WaitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// MakeGroup returns a group of n deliveries to an account, from seq first on.
func MakeGroup(account string, first int64, n int) bus.Group {
	g := bus.Group{Key: fmt.Sprintf("tx-%d:%s", first, account), Account: account}
	for i := range n {
		seq := first + int64(i)
		g.Deliveries = append(g.Deliveries, bus.Delivery{
			ID: fmt.Sprintf("%s/%d", account, seq), Type: "wallet.balance_updated", Account: account, Seq: seq,
			Amount: 5, Reason: "admin_credit", Data: fmt.Appendf(nil, `{"seq":%d,"account":%q}`, seq, account),
		})
	}
	last := first + int64(n) - 1
	g.Balance = bus.Balance{Account: account, Seq: last, UpdatedAt: time.UnixMilli(1_700_000_000_000 + last)}
	if strings.HasPrefix(account, "model:") {
		g.Balance.Earned = 10 * last
	} else {
		g.Balance.Available, g.Balance.Escrow = 100*last, last
	}
	return g
}

// MakeBenchGroups makes groups of a hold each (three events of 300 bytes) or of one event, over
// 1,000 accounts.
func MakeBenchGroups(n, events int) []bus.Group {
	data := []byte(`{"pad":"` + strings.Repeat("x", 290) + `"}`)
	groups := make([]bus.Group, n)
	for i := range groups {
		g := MakeGroup(fmt.Sprintf("user:%06d", i%1000), int64(i/1000*events)+1, events)
		for j := range g.Deliveries {
			g.Deliveries[j].ID = "0198c0de-0000-7000-8000-" + fmt.Sprintf("%012d", i*events+j)
			g.Deliveries[j].Data = data
			g.Deliveries[j].Feature = "chip_menu"
		}
		g.Key = "0198c0de-1111-7000-8000-" + fmt.Sprintf("%012d", i) + ":" + g.Account
		groups[i] = g
	}
	return groups
}

// Seqs lists an account's seqs in the order of its stream, with repeats.
func Seqs(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string) []int64 {
	t.Helper()
	entries, err := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var list []int64
	for _, e := range entries {
		if e.Values["account"] != account {
			continue
		}
		seq, err := strconv.ParseInt(fmt.Sprint(e.Values["seq"]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, seq)
	}
	return list
}

// UpTo returns the numbers from first to last.
func UpTo(first, last int64) (list []int64) {
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}

// Metric returns the sum of a counter's or a gauge's values over its labels.
func Metric(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// RedisCPU returns the processor time that the server has used, in microseconds.
func RedisCPU(b *testing.B, rdb redis.UniversalClient) float64 {
	b.Helper()
	info, err := rdb.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, _ := strconv.ParseFloat(value, 64)
			total += seconds * 1e6
		}
	}
	return total
}
