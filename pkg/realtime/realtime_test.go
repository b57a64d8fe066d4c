package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/realtime"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// startCore opens a core, adds the subscription and runs the core. The returned function stops the
// core and checks its errors.
func startCore(t *testing.T, cfg realtime.Config, s bus.Subscription) (*realtime.Core, func()) {
	t.Helper()
	cfg.Database = wallettest.SQLite(t)
	cfg.Logger = slog.New(slog.DiscardHandler)
	core, err := realtime.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = core.Bus.Subscribe(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- core.Run(ctx) }()
	return core, func() {
		t.Helper()
		cancel()
		err := <-stopped
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		err = core.Close()
		if err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func commitCredit(t *testing.T, core *realtime.Core, key string) {
	t.Helper()
	_, err := core.Ledger.Do(t.Context(), wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: key,
		Account:        "user:u1",
		Amount:         5,
		Reason:         "admin_credit",
	})
	if err != nil {
		t.Fatal(err)
	}
}

// collectSeqs returns a subscription and a channel with the seqs of its events.
func collectSeqs() (bus.Subscription, <-chan int64) {
	seqs := make(chan int64, 100)
	handler := bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
		seqs <- e.Seq
		return nil
	})
	return bus.Subscription{ID: "all", Handler: handler}, seqs
}

// A subscription gets each event once and in order, with and without Redis.
func TestEventsAreDelivered(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	for name, cfg := range map[string]realtime.Config{
		"redis":  {RedisURL: redisURL, Keys: bus.Keys{Namespace: namespace}, Group: "g"},
		"memory": {Memory: true},
	} {
		t.Run(name, func(t *testing.T) {
			subscription, seqs := collectSeqs()
			core, stop := startCore(t, cfg, subscription)
			const events = 20
			for i := range events {
				commitCredit(t, core, string(rune('a'+i)))
			}
			for want := int64(1); want <= events; want++ {
				select {
				case got := <-seqs:
					if got != want {
						t.Fatalf("got event %d, want %d", got, want)
					}
				case <-time.After(5 * time.Minute):
					t.Fatalf("got no event in five minutes, want %d", want)
				}
			}
			stop()
		})
	}
}

// With Memory, Run delivers the committed events before it returns.
func TestMemoryDeliversBeforeStop(t *testing.T) {
	subscription, seqs := collectSeqs()
	core, stop := startCore(t, realtime.Config{Memory: true}, subscription)
	commitCredit(t, core, "a")
	stop()
	if len(seqs) != 1 {
		t.Errorf("got %d events, want 1", len(seqs))
	}
}

// With the default settings, the cache returns the balance of the last published event.
func TestCacheIsNeverStale(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	subscription, seqs := collectSeqs()
	core, stop := startCore(t, realtime.Config{RedisURL: redisURL, Keys: bus.Keys{Namespace: namespace}, Group: "g"}, subscription)
	defer stop()
	for i := range 10 {
		commitCredit(t, core, string(rune('a'+i)))
		seq := <-seqs
		balance, ok, err := core.Cache.Get(t.Context(), "user:u1")
		if err != nil || !ok {
			t.Fatalf("Get: got ok %v, error %v", ok, err)
		}
		if balance.Seq < seq {
			t.Errorf("got a balance with seq %d, want at least %d", balance.Seq, seq)
		}
	}
}

// The checks of a core say which partitions are away, and that accounts are being compared.
func TestChecksNameWhatIsWrong(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}.WithDefaults()
	rdb, err := redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	partition := keys.Partition("user:u1")
	stream := keys.Stream(partition)
	err = rdb.Set(t.Context(), stream, "no stream", 0).Err()
	if err != nil {
		t.Fatal(err)
	}
	err = rdb.Set(t.Context(), keys.Forked(), "another core's comparison", 0).Err()
	if err != nil {
		t.Fatal(err)
	}
	subscription, _ := collectSeqs()
	core, stop := startCore(t, realtime.Config{RedisURL: redisURL, Keys: keys, Group: "g"}, subscription)
	defer stop()

	commitCredit(t, core, "a")
	want := fmt.Sprintf("1 of 4 partitions cannot be written, and their events wait in the outbox: %d", partition)
	awaitCheck(t, core.CheckPartitions, func(err error) bool { return err != nil && err.Error() == want })
	awaitCheck(t, core.CheckHistory, func(err error) bool { return errors.Is(err, relay.ErrHistory) })
	err = rdb.Del(t.Context(), stream).Err()
	if err != nil {
		t.Fatal(err)
	}
	isNil := func(err error) bool { return err == nil }
	awaitCheck(t, core.CheckPartitions, isNil)
	awaitCheck(t, core.CheckHistory, isNil)
}

// awaitCheck calls a check until its error is the wanted one.
func awaitCheck(t *testing.T, check func(context.Context) error, isWanted func(error) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(5 * time.Minute)
	for {
		err := check(t.Context())
		if isWanted(err) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("got error %v for 20 s", err)
		}
	}
}

func TestOpenRefusesConfig(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	database := wallettest.SQLite(t)
	rdb, err := redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	for name, cfg := range map[string]realtime.Config{
		"no redis":  {Database: database},
		"two kinds": {Database: database, RedisURL: redisURL, Redis: rdb},
		"a bad URL": {Database: database, RedisURL: "http://x"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := realtime.Open(t.Context(), cfg)
			if err == nil {
				t.Error("got no error")
			}
		})
	}
	t.Run("no schema", func(t *testing.T) {
		_, err := realtime.Open(t.Context(), realtime.Config{Database: "sqlite:" + t.TempDir() + "/none.db", Memory: true})
		if !errors.Is(err, wallet.ErrNoFile) {
			t.Errorf("got error %v, want ErrNoFile", err)
		}
	})
	t.Run("another layout", func(t *testing.T) {
		err := redisconn.CheckLayout(t.Context(), rdb, bus.Keys{Namespace: namespace, Partitions: 4})
		if err != nil {
			t.Fatal(err)
		}
		_, err = realtime.Open(t.Context(), realtime.Config{Database: database, Redis: rdb, Keys: bus.Keys{Namespace: namespace}})
		if !errors.Is(err, bus.ErrLayout) {
			t.Errorf("got error %v, want ErrLayout", err)
		}
	})
}
