package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/pkg/client"
)

// TestGoClientThroughRestarts follows an account with pkg/client while its gateway is stopped and
// killed. The app sees each event once and in order, and the balance is the ledger's.
func TestGoClientThroughRestarts(t *testing.T) {
	t.Parallel()
	const user = "user:u1"
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(w.startComparingProxy(core))
	a := w.newAPI(core)
	a.mustDo(newCredit(user, 1000))

	url := strings.Replace(gateway.baseURL(), "http", "ws", 1) + "/v1/ws"
	ctx, cancel := context.WithCancel(context.Background()) // the waits below are bounded
	defer cancel()
	c, err := client.Dial(ctx, url, client.Config{Token: client.StaticToken(w.signToken("app", []string{user}))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	balance := c.Balance(user)
	defer balance.Close()

	var reader sync.WaitGroup
	var seen seqRecorder
	reader.Go(func() {
		for item, err := range c.Events(ctx, client.Filter{StartWithBalance: true}) {
			if err != nil {
				return // the test has ended
			}
			seen.add(item)
		}
	})
	w.waitUntil("the balance is live", func() bool { return balance.Get().Status == client.BalanceLive })
	w.waitUntil("the events have begun", func() bool { return seen.last() > 0 })

	hold := func() {
		for range 5 {
			a.mustDo(newHold(user, 1))
		}
	}
	hold()
	gateway.stopProcess()
	hold()
	gateway.startProcess("--core-url", core.baseURL())
	hold()
	gateway.killProcess()
	hold()
	gateway.startProcess("--core-url", core.baseURL())
	hold()

	want, err := a.Balance(ctx, user)
	if err != nil {
		t.Fatal(err)
	}
	w.waitUntil("the app has all events", func() bool { return seen.last() == want.Seq })
	w.waitUntil("the balance is that of the ledger", func() bool {
		got := balance.Get()
		return got.Status == client.BalanceLive && got.Balance == want
	})
	cancel()
	reader.Wait()
	seen.check(w, want.Seq)
}

// seqRecorder records the seqs of one account's items.
type seqRecorder struct {
	mu      sync.Mutex // protects the fields below
	seqs    []int64
	resyncs int
}

func (s *seqRecorder) add(item client.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seqs = append(s.seqs, item.Seq)
	if item.Resync != nil {
		s.resyncs++
	}
}

func (s *seqRecorder) last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seqs) == 0 {
		return 0
	}
	return s.seqs[len(s.seqs)-1]
}

// check requires that the items are the balance at the start and then each event once, in order.
func (s *seqRecorder) check(w *world, last int64) {
	w.Helper()
	if s.resyncs != 1 {
		w.Errorf("got %d resyncs, want only the balance at the start", s.resyncs)
	}
	for i, seq := range s.seqs {
		if want := s.seqs[0] + int64(i); seq != want {
			w.Fatalf("item %d: got seq %d, want %d; all: %v", i, seq, want, s.seqs)
		}
	}
	if got := s.seqs[len(s.seqs)-1]; got != last {
		w.Errorf("got seq %d last, want %d", got, last)
	}
}
