package relay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
	"github.com/redroomrewards/realtime/pkg/cache"
)

// readersWorld is a ledger whose relay publishes transactions all the time, and all kinds of
// readers. Each part has a client and the settings of a real process.
type readersWorld struct {
	keys     bus.Keys
	src      *memorySource
	relay    *relay.Relay
	balances *cache.Balances
	accounts []string // one for each partition

	mu     sync.Mutex // protects the rest
	tailed map[string]int64
	bused  map[string]int64
}

func newReadersWorld(t *testing.T, url string) *readersWorld {
	t.Helper()
	w := &readersWorld{
		keys:   bus.Keys{Namespace: "t", Partitions: 12}.WithDefaults(),
		src:    newMemorySource(),
		tailed: map[string]int64{},
		bused:  map[string]int64{},
	}
	for partition := range w.keys.Partitions {
		account := "user:0"
		for i := 1; w.keys.Partition(account) != partition; i++ {
			account = fmt.Sprint("user:", i)
		}
		w.accounts = append(w.accounts, account)
	}
	publisher := publish.New(streamtest.Open(t, url), publish.Config{Keys: w.keys})
	w.relay = relay.New(w.src, publisher, relay.Config{Logger: streamtest.DiscardLogger()})
	w.balances = cache.New(streamtest.Open(t, url), cache.Config{Keys: w.keys})
	reader := tail.New(streamtest.Open(t, url), tail.Config{Keys: w.keys, Logger: streamtest.DiscardLogger()})
	b, err := consumer.New(streamtest.Open(t, url), bus.Config{Keys: w.keys, Group: "g", Copies: true, Logger: streamtest.DiscardLogger()})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(_ context.Context, e *bus.Event) error {
		w.record(w.bused, e.Account, e.Seq)
		return nil
	}
	_, err = b.Subscribe(bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handle)})
	if err != nil {
		t.Fatal(err)
	}

	// The readers end before their clients are closed.
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	running.Go(func() { _ = w.relay.Run(ctx) })
	running.Go(func() {
		_ = reader.Run(ctx, func(b tail.Batch) {
			for _, d := range b.Deliveries {
				w.record(w.tailed, d.Account, d.Seq)
			}
		})
	})
	running.Go(func() { _ = b.Run(ctx) })
	running.Go(func() { w.commitUntil(ctx) })
	for _, account := range w.accounts {
		w.waitUntilShown(t, account, 1)
	}
	return w
}

// commitUntil makes a transaction of all accounts every 50 ms until ctx ends.
func (w *readersWorld) commitUntil(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, account := range w.accounts {
				w.src.commitAndOffer(w.relay, 1, account)
			}
		}
	}
}

func (w *readersWorld) record(seqs map[string]int64, account string, seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seqs[account] = max(seqs[account], seq)
}

// maxDelay is much more than the delays that are promised, because the tests also run on busy
// machines. The client library alone would take a minute.
const maxDelay = 45 * time.Second

// waitUntilShown waits until the tail, the bus and the cache have the account's event seq. It logs
// how long each takes, and checks that none takes longer than maxDelay.
func (w *readersWorld) waitUntilShown(t *testing.T, account string, seq int64) {
	t.Helper()
	start := time.Now()
	seqOf := map[string]func() int64{
		"tail":  func() int64 { return w.tailed[account] },
		"bus":   func() int64 { return w.bused[account] },
		"cache": func() int64 { balance, _, _ := w.balances.Get(t.Context(), account); return balance.Seq },
	}
	streamtest.WaitFor(t, account+"'s event is shown", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for name, read := range seqOf {
			if read() < seq {
				continue
			}
			took := time.Since(start)
			t.Logf("%s has %s's event %d after %s", name, account, seq, took)
			if took > maxDelay {
				t.Errorf("%s has %s's event %d after %s, want at most %s", name, account, seq, took, maxDelay)
			}
			delete(seqOf, name)
		}
		return len(seqOf) == 0
	})
}
