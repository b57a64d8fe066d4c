// Package streamtest is what the tests of the packages below bus share.
package streamtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// onEachRedis runs a test on a real Redis and on the one that dev mode embeds.
func OnEachRedis(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys)) {
	t.Run("redis", func(t *testing.T) {
		url, namespace := testenv.Redis(t)
		run(t, Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4})
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

// Open opens a client until the test ends.
func Open(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// waitFor polls a real condition until it holds; it ends the test after a while.
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

// makeGroup returns a group of n deliveries to an account, from seq first on.
func NewUpdate(account string, first int64, n int) bus.AccountUpdate {
	g := bus.AccountUpdate{Key: fmt.Sprintf("tx-%d:%s", first, account), Account: account}
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

// stream lists account/seq of a partition's entries.
func Stream(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string) []string {
	t.Helper()
	entries, err := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Values["account"] == account {
			list = append(list, fmt.Sprint(e.Values["seq"]))
		}
	}
	return list
}

// follower runs a tail and keeps what it delivers.
type Follower struct {
	*tail.Tail
	Stop context.CancelFunc

	Mu      sync.Mutex // protects the rest
	History []bus.Delivery
	Live    []bus.Delivery
}

// Quiet returns a logger that discards.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Follow runs a tail until the test ends.
func Follow(t testing.TB, rdb redis.UniversalClient, cfg tail.Config) *Follower {
	t.Helper()
	if cfg.Block == 0 {
		cfg.Block = 20 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = Quiet()
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{Tail: tail.New(rdb, cfg)}
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, f.take) }()
	f.Stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(f.Stop)
	return f
}

func (f *Follower) take(b tail.Batch) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	if b.Refill {
		f.History = append(f.History, b.Deliveries...)
	} else {
		f.Live = append(f.Live, b.Deliveries...)
	}
}

// firsts lists an account's seqs in the order they came, without repeats.
func firsts(deliveries []bus.Delivery, account string) []int64 {
	var list []int64
	last := int64(0)
	for _, d := range deliveries {
		if d.Account == account && d.Seq > last {
			list, last = append(list, d.Seq), d.Seq
		}
	}
	return list
}

// Seqs lists an account's seqs of the refill and of the live reads.
func (f *Follower) Seqs(account string) (history, live []int64) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return firsts(f.History, account), firsts(f.Live, account)
}

// WaitCaughtUp waits until the tail has read up to now.
func (f *Follower) WaitCaughtUp(t testing.TB) {
	t.Helper()
	select {
	case <-f.CaughtUp():
	case <-time.After(20 * time.Second):
		t.Fatal("the tail does not catch up")
	}
}

// UpTo lists the numbers from first to last.
func UpTo(first, last int64) (list []int64) {
	for seq := first; seq <= last; seq++ {
		list = append(list, seq)
	}
	return list
}

// WaitLive waits until the live reads have the account's seqs from first to last.
func (f *Follower) WaitLive(t testing.TB, account string, first, last int64) {
	t.Helper()
	WaitFor(t, fmt.Sprintf("live %s %d to %d", account, first, last), func() bool {
		_, live := f.Seqs(account)
		return slices.Equal(live, UpTo(first, last))
	})
}

// benchGroups makes groups of a hold each (three events of 300 bytes) or of one event, over 1,000 accounts.
func BenchGroups(n, events int) []publish.Publication {
	data := []byte(`{"pad":"` + strings.Repeat("x", 290) + `"}`)
	pubs := make([]publish.Publication, n)
	for i := range pubs {
		g := NewUpdate(fmt.Sprintf("user:%06d", i%1000), int64(i/1000*events)+1, events)
		for j := range g.Deliveries {
			g.Deliveries[j].ID = "0198c0de-0000-7000-8000-" + fmt.Sprintf("%012d", i*events+j)
			g.Deliveries[j].Data = data
			g.Deliveries[j].Feature = "chip_menu"
		}
		g.Key = "0198c0de-1111-7000-8000-" + fmt.Sprintf("%012d", i) + ":" + g.Account
		pubs[i].Update = g
	}
	return pubs
}

// redisCPU is the processor time that the server has used, in microseconds.
func RedisCPU(b *testing.B, rdb redis.UniversalClient) float64 {
	b.Helper()
	info, err := rdb.Info(context.Background(), "cpu").Result()
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

// clusterOfOne starts a Redis Cluster with a single node, which serves all slots.
func ClusterOfOne(t *testing.T) *testenv.Server {
	t.Helper()
	// The port that Redis would choose, 10,000 above its own, may be none.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busPort := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
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

// NewPublication returns n deliveries to the account from seq first on.
func NewPublication(account string, first int64, n int) publish.Publication {
	return publish.Publication{Update: NewUpdate(account, first, n)}
}

// MustPublish publishes and fails the test on an error.
func MustPublish(t testing.TB, p *publish.Publisher, pubs ...publish.Publication) []publish.Outcome {
	t.Helper()
	outcomes, err := p.Publish(t.Context(), pubs)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// metric sums a metric's values over its labels.
func MetricSum(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
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

// runBus runs a bus until the test ends.
func RunBus(t *testing.T, b bus.Bus) {
	t.Helper()
	ran := make(chan error, 1)
	go func() { ran <- b.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = b.Close(ctx) // what a test leaves unfinished is its own affair
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// all lists an account's seqs as they came.
func (f *Follower) All(account string) (list []int64) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	for _, d := range append(slices.Clone(f.History), f.Live...) {
		if d.Account == account {
			list = append(list, d.Seq)
		}
	}
	return list
}
