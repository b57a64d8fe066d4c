// Package streamtest has helpers for the tests of the packages below pkg/bus.
package streamtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
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
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// OnEachRedis runs a test on a real Redis, and on the embedded one of development mode.
func OnEachRedis(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys)) {
	t.Run("redis", func(t *testing.T) {
		url, namespace := testenv.Redis(t)
		run(t, Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4})
	})

	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		err := server.Start()
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(server.Close)
		run(t, Open(t, "redis://"+server.Addr()), bus.Keys{Namespace: "test", Partitions: 4})
	})
}

// Open opens a Redis client, which is closed when the test ends.
func Open(t testing.TB, url string) redis.UniversalClient {
	t.Helper()

	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// waitLimit bounds every wait of a test. Only a test that fails waits for so long, and the machines
// of tests are often busy.
const waitLimit = 5 * time.Minute

// WaitFor waits until a condition holds that nothing signals. It ends the test after waitLimit.
func WaitFor(t testing.TB, condition string, holds func() bool) {
	t.Helper()

	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()

	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", waitLimit, condition)
		}
	}
}

// DiscardLogger returns a logger that discards all messages.
func DiscardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// NewUpdate returns an update with n deliveries to an account, with seqs from first on.
func NewUpdate(account string, first int64, n int) bus.AccountUpdate {
	update := bus.AccountUpdate{
		Key:     fmt.Sprintf("tx-%d:%s", first, account),
		Account: account,
		Before:  ChainAt(account, first-1),
	}

	for i := range n {
		seq := first + int64(i)
		update.Deliveries = append(update.Deliveries, bus.Delivery{
			ID:      fmt.Sprintf("%s/%d", account, seq),
			Type:    "wallet.balance_updated",
			Account: account,
			Seq:     seq,
			Chain:   ChainAt(account, seq),
			Amount:  5,
			Reason:  "admin_credit",
			Data:    fmt.Appendf(nil, `{"seq":%d,"account":%q}`, seq, account),
		})
	}

	last := first + int64(n) - 1
	update.Balance = bus.Balance{
		Account:   account,
		Seq:       last,
		Chain:     ChainAt(account, last),
		UpdatedAt: time.UnixMilli(1_700_000_000_000 + last),
	}

	if strings.HasPrefix(account, "model:") {
		update.Balance.Earned = 10 * last
	} else {
		update.Balance.Available = 100 * last
		update.Balance.Escrow = last
	}

	return update
}

// ChainAt returns the chain that NewUpdate gives to an account's event.
func ChainAt(account string, seq int64) bus.Chain {
	if seq == 0 {
		return 0
	}

	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", account, seq))
	return bus.Chain(binary.BigEndian.Uint64(sum[:]))
}

// NewPublication returns n deliveries to the account, with seqs from first on.
func NewPublication(account string, first int64, n int) publish.Publication {
	return publish.Publication{Update: NewUpdate(account, first, n)}
}

// MustPublish publishes the publications and ends the test if that fails.
func MustPublish(t testing.TB, p *publish.Publisher, pubs ...publish.Publication) []publish.Outcome {
	t.Helper()

	outcomes, err := p.Publish(t.Context(), pubs)
	if err != nil {
		t.Fatal(err)
	}

	return outcomes
}

// NewBenchPublications returns n publications over 1,000 accounts. Each has the given number of
// events of 300 bytes; a hold has three.
func NewBenchPublications(n, events int) []publish.Publication {
	data := []byte(`{"pad":"` + strings.Repeat("x", 290) + `"}`)
	pubs := make([]publish.Publication, n)
	for i := range pubs {
		update := NewUpdate(fmt.Sprintf("user:%06d", i%1000), int64(i/1000*events)+1, events)
		for j := range update.Deliveries {
			d := &update.Deliveries[j]
			d.ID = "0198c0de-0000-7000-8000-" + fmt.Sprintf("%012d", i*events+j)
			d.Data = data
			d.Feature = "chip_menu"
		}

		update.Key = "0198c0de-1111-7000-8000-" + fmt.Sprintf("%012d", i) + ":" + update.Account
		pubs[i].Update = update
	}

	return pubs
}

// ListStreamSeqs lists the seqs of an account's entries in its stream.
func ListStreamSeqs(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string) []string {
	t.Helper()

	entries, err := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}

	var seqs []string
	for _, e := range entries {
		if e.Values["account"] == account {
			seqs = append(seqs, fmt.Sprint(e.Values["seq"]))
		}
	}

	return seqs
}

// RunBus runs a bus until the test ends.
func RunBus(t *testing.T, b bus.Bus) {
	t.Helper()

	ended := make(chan error, 1)
	go func() { ended <- b.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = b.Close(ctx) // a test may leave events that are not handled
		err := <-ended
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// StartClusterOfOne starts a Redis Cluster with a single node, which serves all slots.
func StartClusterOfOne(t *testing.T) *testenv.Server {
	t.Helper()

	// By default Redis uses the port that is 10,000 above its own, which may be out of range.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	busPort := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	_ = listener.Close()
	server := testenv.RedisServer(t, "--cluster-enabled", "yes", "--cluster-port", busPort)
	rdb := Open(t, server.URL())
	err = rdb.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err()
	if err != nil {
		t.Fatal(err)
	}

	WaitFor(t, "the cluster is ready", func() bool {
		return strings.Contains(rdb.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})

	return server
}

// ReadRedisCPU returns the processor time that the server has used, in microseconds.
func ReadRedisCPU(b *testing.B, rdb redis.UniversalClient) float64 {
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

// SumMetric returns the sum of a metric's values over its labels.
func SumMetric(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}

	sum := 0.0
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

// SeqRange lists the seqs from first to last.
func SeqRange(first, last int64) []int64 {
	var seqs []int64
	for seq := first; seq <= last; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}
