package bustest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatchtest"
)

// testPause has a handler that always fails. It must be paused after five failures without blocking
// the other subscription of its priority and the next priority. When it works again it must handle
// the waiting events in order.
func testPause(t *testing.T, newBus Maker) {
	cfg, read := withRegistry(fastConfig())
	cfg.PauseAfter = 5
	cfg.PauseFor = 10 * time.Millisecond
	cfg.MaxPause = time.Second // so that there are few probes while the other subscriptions are busy
	cfg.Attempts = 1000
	cfg.FirstDelay = time.Hour // all further attempts are probes
	cfg.MaxDelay = time.Hour
	b, _ := newBus(t, cfg)
	var broken atomic.Bool
	broken.Store(true)
	var failures atomic.Int32
	var fails, parallel, later recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if broken.Load() {
			failures.Add(1)
			return errTest
		}

		fails.recordCall(e.ID)
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "fails", Priority: 1, Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "parallel", Priority: 1, Handler: &parallel})
	mustSubscribe(t, b, bus.Subscription{ID: "later", Priority: 2, Handler: &later})
	const events = 200

	for i := range events {
		mustPublish(t, b, newEvent(fmt.Sprintf("%03d", i), "a", fmt.Sprint("user:u", i%3)))
	}

	isPaused := func() bool { return read(`realtime_bus_subscriber_paused{subscriber=fails}`) == 1 }
	waitUntil(t, "the others have all events", func() bool {
		return parallel.callCount() == events && later.callCount() == events
	})

	waitUntil(t, "it is paused and probed", func() bool { return failures.Load() >= 7 && isPaused() })

	broken.Store(false)
	failed := int(failures.Load())
	waitUntil(t, "it handles the waiting events", func() bool { return fails.callCount() >= events-failed-1 })
	if isPaused() {
		t.Error("got a paused subscription after a success, want a running one")
	}

	if failed > events/2 {
		t.Errorf("got %d failures, want fewer because of the pause", failed)
	}

	last := map[int]string{} // last event by account
	for _, id := range fails.callIDs() {
		n, _ := strconv.Atoi(id)
		account := n % 3
		if id <= last[account] {
			t.Errorf("account %d: got event %s after %s, want ascending order", account, id, last[account])
		}

		last[account] = id
	}
}

// testPauseKeepsOrder pauses a subscription while it handles an account's event. The account's next
// event must not reach the next priority before it.
func testPauseKeepsOrder(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.PauseAfter = 1
	cfg.PauseFor = time.Hour
	cfg, read := withRegistry(cfg)
	b, _ := newBus(t, cfg)
	started := make(chan struct{})
	goOn := make(chan struct{})
	var later recorder
	handler := func(ctx context.Context, e *bus.Event) error {
		switch e.ID {
		case "a1":
			close(started)
			waitInHandler(ctx, goOn)
		case "b1":
			return bus.Permanent(errTest)
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "paused", Priority: 1, Handler: bus.HandlerFunc(handler)})
	mustSubscribe(t, b, bus.Subscription{ID: "later", Priority: 2, Handler: &later})
	accounts := dispatchtest.Accounts(2)
	mustPublish(t, b, newEvent("a1", "a", accounts[0]))
	waitForSignal(t, "the handler", started)
	mustPublish(t, b, newEvent("b1", "a", accounts[1]))
	waitUntil(t, "it is paused", func() bool { return read(`realtime_bus_subscriber_paused{subscriber=paused}`) == 1 })
	mustPublish(t, b, newEvent("a2", "a", accounts[0]))
	mustPublish(t, b, newEvent("b2", "a", accounts[1]))
	waitUntil(t, "the other account's event is handled", func() bool { return slices.Contains(later.callIDs(), "b2") })
	close(goOn)
	waitUntil(t, "all events are handled", func() bool { return later.callCount() == 4 })
	got := later.callIDs()
	if slices.Index(got, "a1") > slices.Index(got, "a2") {
		t.Errorf("got order %v, want a1 before a2", got)
	}
}
