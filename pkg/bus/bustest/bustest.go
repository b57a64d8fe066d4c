// Package bustest is the conformance suite of bus.Bus: what every bus must do, whatever
// it is made of.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Maker makes a bus for one test, with a namespace of its own, and ends it with
// the test. deliver brings deliveries as the relay does: the ledger's, with seq.
type Maker func(t *testing.T, cfg bus.Config) (b bus.Bus, deliver func(...bus.Delivery))

// Run runs the suite.
func Run(t *testing.T, newBus Maker) {
	for name, test := range map[string]func(*testing.T, Maker){
		"Types":             testTypes,
		"Duplicates":        testDuplicates,
		"DuplicatesAllowed": testDuplicatesAllowed,
		"InvalidEvents":     testInvalidEvents,
		"InvalidSubscriber": testInvalidSubscriptions,
		"LedgerEvents":      testLedgerEvents,
		"Copies":            testCopies,
		"TakenID":           testTakenID,
		"UnsubscribeWaits":  testUnsubscribeWaits,
		"UnsubscribeItself": testUnsubscribeItself,
		"UnsubscribeDrops":  testUnsubscribeDrops,
		"Priorities":        testPriorities,
		"SideBySide":        testSideBySide,
		"Order":             testOrder,
		"Retries":           testRetries,
		"RetryHoldsUpNone":  testRetryHoldsUpNone,
		"DeadLetters":       testDeadLetters,
		"Permanent":         testPermanent,
		"Panic":             testPanic,
		"Timeout":           testTimeout,
		"TypedPayloads":     testTypedPayloads,
		"Replay":            testReplay,
		"Pause":             testPause,
		"PauseKeepsOrder":   testPauseKeepsOrder,
		"BackPressure":      testBackPressure,
		"Synchronous":       testSynchronous,
		"CloseDrains":       testCloseDrains,
		"CloseGivesUp":      testCloseGivesUp,
		"Metrics":           testMetrics,
		"MetricsOfTypes":    testMetricsOfTypes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newBus)
		})
	}
}

// quick are settings with which failures are over soon.
func quick() bus.Config {
	return bus.Config{
		Group: "suite", FirstDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, PauseAfter: -1,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// event makes an event of a type for an account; its id is unique within the bus.
func event(id, kind, account string) bus.Event {
	return bus.Event{ID: id, Type: kind, Account: account, Data: fmt.Appendf(nil, `{"id":%q,"version":"1.0"}`, id)}
}

func subscribe(t *testing.T, b bus.Bus, s bus.Subscription) func(context.Context) error {
	t.Helper()
	leave, err := b.Subscribe(s)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

func publish(t *testing.T, b bus.Bus, events ...bus.Event) []bus.Status {
	t.Helper()
	statuses, err := b.Publish(t.Context(), events...)
	if err != nil {
		t.Fatal(err)
	}
	return statuses
}

// wait waits for a signal.
func wait[T any](t *testing.T, what string, signal <-chan T) T {
	t.Helper()
	select {
	case v := <-signal:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// until polls a condition that nothing signals.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// hold waits in a handler for a test's signal, or for the end of a test that failed before.
func hold(ctx context.Context, signal <-chan struct{}) {
	select {
	case <-signal:
	case <-ctx.Done():
	}
}

var errTest = errors.New("a test's error")

// record is what a handler was called with, in order.
type record struct {
	mu    sync.Mutex
	ids   []string
	calls map[string]int
}

func (r *record) add(id string) (call int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[string]int{}
	}
	r.ids = append(r.ids, id)
	r.calls[id]++
	return r.calls[id]
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.ids...)
}

func (r *record) len() int { return len(r.all()) }

// Handle implements bus.Handler.
func (r *record) Handle(_ context.Context, e *bus.Event) error {
	r.add(e.ID)
	return nil
}

func letters(t *testing.T, b bus.Bus) []bus.DeadLetter {
	t.Helper()
	list, err := b.DeadLetters().List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func untilLetters(t *testing.T, b bus.Bus, n int) []bus.DeadLetter {
	t.Helper()
	until(t, fmt.Sprint(n, " dead letters"), func() bool { return len(letters(t, b)) >= n })
	list := letters(t, b)
	if len(list) != n {
		t.Fatalf("%d dead letters, want %d: %+v", len(list), n, list)
	}
	return list
}
