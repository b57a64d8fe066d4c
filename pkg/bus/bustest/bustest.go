// Package bustest is the conformance suite of bus.Bus.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Maker makes a bus for one test, in a namespace of its own, and closes it at the end of the
// test. deliver publishes deliveries of the ledger with their seq, as the relay does. It rewinds the
// account for a delivery of the type bus.TypeHistoryChanged.
type Maker func(t *testing.T, cfg bus.Config) (b bus.Bus, deliver func(...bus.Delivery))

// Run runs the suite.
func Run(t *testing.T, newBus Maker) {
	tests := map[string]func(*testing.T, Maker){
		"Types":                testTypes,
		"Duplicates":           testDuplicates,
		"DuplicatesAllowed":    testDuplicatesAllowed,
		"InvalidEvents":        testInvalidEvents,
		"InvalidSubscriptions": testInvalidSubscriptions,
		"LedgerEvents":         testLedgerEvents,
		"Copies":               testCopies,
		"Markers":              testMarkers,
		"SubscribeTwice":       testSubscribeTwice,
		"UnsubscribeWaits":     testUnsubscribeWaits,
		"UnsubscribeInHandler": testUnsubscribeInHandler,
		"UnsubscribeDrops":     testUnsubscribeDrops,
		"Priorities":           testPriorities,
		"ParallelHandlers":     testParallelHandlers,
		"Order":                testOrder,
		"Retries":              testRetries,
		"RetryDoesNotBlock":    testRetryDoesNotBlock,
		"DeadLetters":          testDeadLetters,
		"DeadLetterInvalidIDs": testDeadLetterInvalidIDs,
		"DeadLetterPages":      testDeadLetterPages,
		"Permanent":            testPermanent,
		"Panic":                testPanic,
		"Timeout":              testTimeout,
		"TypedPayloads":        testTypedPayloads,
		"Replay":               testReplay,
		"Pause":                testPause,
		"PauseKeepsOrder":      testPauseKeepsOrder,
		"BackPressure":         testBackPressure,
		"Synchronous":          testSynchronous,
		"CloseDrains":          testCloseDrains,
		"CloseCancelsHandlers": testCloseCancelsHandlers,
		"Metrics":              testMetrics,
		"MetricsOfManyTypes":   testMetricsOfManyTypes,
	}

	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newBus)
		})
	}
}

// fastConfig returns settings with short retry delays and without pauses.
func fastConfig() bus.Config {
	return bus.Config{
		Group:      "suite",
		FirstDelay: time.Millisecond,
		MaxDelay:   5 * time.Millisecond,
		PauseAfter: -1,
		Logger:     slog.New(slog.DiscardHandler),
	}
}

// newEvent returns an event. Its id must be unique within the bus.
func newEvent(id, eventType, account string) bus.Event {
	return bus.Event{
		ID:      id,
		Type:    eventType,
		Account: account,
		Data:    fmt.Appendf(nil, `{"id":%q,"version":"1.0"}`, id),
	}
}

func mustSubscribe(t *testing.T, b bus.Bus, s bus.Subscription) func(context.Context) error {
	t.Helper()

	unsubscribe, err := b.Subscribe(s)
	if err != nil {
		t.Fatal(err)
	}

	return unsubscribe
}

func mustPublish(t *testing.T, b bus.Bus, events ...bus.Event) []bus.Status {
	t.Helper()

	statuses, err := b.Publish(t.Context(), events...)
	if err != nil {
		t.Fatal(err)
	}

	return statuses
}

func mustClose(t *testing.T, b bus.Bus) {
	t.Helper()

	err := b.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// requireStatuses publishes events and compares their statuses.
func requireStatuses(t *testing.T, b bus.Bus, events []bus.Event, want ...bus.Status) {
	t.Helper()

	got := mustPublish(t, b, events...)
	if !slices.Equal(got, want) {
		t.Errorf("got statuses %v, want %v", got, want)
	}
}

func waitForSignal[T any](t *testing.T, name string, signal <-chan T) T {
	t.Helper()

	select {
	case v := <-signal:
		return v
	case <-time.After(5 * time.Minute):
		t.Fatalf("timeout while waiting for %s", name)
		panic("unreachable")
	}
}

// waitUntil polls a condition.
func waitUntil(t *testing.T, name string, isTrue func() bool) {
	t.Helper()

	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()

	for start := time.Now(); !isTrue(); <-tick.C {
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("timeout while waiting until %s", name)
		}
	}
}

// waitInHandler waits in a handler for a signal. If the test fails before, the handler's context
// ends.
func waitInHandler(ctx context.Context, signal <-chan struct{}) {
	select {
	case <-signal:
	case <-ctx.Done():
	}
}

var errTest = errors.New("a test's error")

// recorder is a handler that records the ids of its events, in order.
type recorder struct {
	mu    sync.Mutex
	ids   []string
	calls map[string]int // by id
}

// recordCall returns the number of calls with this id.
func (r *recorder) recordCall(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.calls == nil {
		r.calls = map[string]int{}
	}

	r.ids = append(r.ids, id)
	r.calls[id]++
	return r.calls[id]
}

func (r *recorder) callIDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

func (r *recorder) callCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids)
}

// Handle implements bus.Handler.
func (r *recorder) Handle(_ context.Context, e *bus.Event) error {
	r.recordCall(e.ID)
	return nil
}

// requireCalls compares the number of calls.
func requireCalls(t *testing.T, name string, r *recorder, want int) {
	t.Helper()

	got := r.callCount()
	if got != want {
		t.Errorf("subscription %s: got %d calls (%v), want %d", name, got, r.callIDs(), want)
	}
}

func listLetters(t *testing.T, b bus.Bus) []bus.DeadLetter {
	t.Helper()

	letters, err := b.DeadLetters().List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}

	return letters
}

// waitForLetters waits until there are n dead letters.
func waitForLetters(t *testing.T, b bus.Bus, n int) []bus.DeadLetter {
	t.Helper()

	waitUntil(t, fmt.Sprint(n, " dead letters exist"), func() bool { return len(listLetters(t, b)) >= n })
	letters := listLetters(t, b)
	if len(letters) != n {
		t.Fatalf("got %d dead letters (%+v), want %d", len(letters), letters, n)
	}

	return letters
}
