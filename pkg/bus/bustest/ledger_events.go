package bustest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// testLedgerEvents checks that seq and the routing fields of the ledger's events are delivered, and
// that the second party's delivery is not.
func testLedgerEvents(t *testing.T, newBus Maker) {
	b, deliver := newBus(t, fastConfig())
	got := make(chan bus.Event, 10)
	handler := func(_ context.Context, e *bus.Event) error {
		got <- *e
		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	want := bus.Event{
		ID:          "e1",
		Type:        "wallet.escrow_settled",
		Account:     "user:u",
		Seq:         1,
		Amount:      7,
		Reason:      "r",
		Feature:     "f",
		TraceParent: "00-a",
		Data:        []byte(`{"all":1}`),
	}

	firstParty := bus.Delivery{
		ID:          want.ID,
		Type:        want.Type,
		Account:     want.Account,
		Seq:         want.Seq,
		Amount:      want.Amount,
		Reason:      want.Reason,
		Feature:     want.Feature,
		TraceParent: want.TraceParent,
		Data:        want.Data,
		View:        []byte(`{}`),
	}

	secondParty := bus.Delivery{
		ID:          want.ID,
		Type:        want.Type,
		Account:     "model:m",
		Seq:         1,
		Amount:      want.Amount,
		Reason:      want.Reason,
		Data:        want.Data,
		SecondParty: true,
	}

	other := bus.Delivery{ID: "e2", Type: "wallet.balance_updated", Account: "user:u", Seq: 2, Data: []byte(`{}`)}
	deliver(firstParty, secondParty, other)

	first := waitForSignal(t, "the first event", got)
	second := waitForSignal(t, "the second event", got)
	mustClose(t, b)
	first.Key = "" // the suite does not prescribe the key
	if fmt.Sprint(first) != fmt.Sprint(want) {
		t.Errorf("first event:\ngot  %+v\nwant %+v", first, want)
	}

	if second.ID != "e2" {
		t.Errorf("second event: got id %s, want e2", second.ID)
	}

	if second.Seq != 2 {
		t.Errorf("second event: got seq %d, want 2", second.Seq)
	}

	if len(got) > 0 {
		t.Errorf("got %d more events, want none", len(got))
	}
}

// testCopies requests both parties' deliveries of an event. Each of them fails once.
func testCopies(t *testing.T, newBus Maker) {
	cfg := fastConfig()
	cfg.Copies = true
	b, deliver := newBus(t, cfg)
	var r recorder
	handler := func(_ context.Context, e *bus.Event) error {
		if r.recordCall(fmt.Sprint(e.Account, e.Seq, e.ID)) == 1 {
			return errTest
		}

		return nil
	}

	mustSubscribe(t, b, bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handler)})
	deliver(
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "user:u", Seq: 1, Data: []byte(`{}`)},
		bus.Delivery{ID: "e1", Type: "wallet.escrow_settled", Account: "model:m", Seq: 1, Data: []byte(`{}`), SecondParty: true},
	)

	waitUntil(t, "both are handled twice", func() bool { return r.callCount() == 4 })
	mustClose(t, b)
	got := r.callIDs()
	slices.Sort(got)
	want := []string{"model:m1e1", "model:m1e1", "user:u1e1", "user:u1e1"}
	if !slices.Equal(got, want) {
		t.Errorf("got calls %v, want %v", got, want)
	}
}

// testOrder checks that each account's events are handled in order by both priorities.
// A marker goes to the subscriptions that name its type or all types, in the order of its account. It
// is no second delivery.
func testMarkers(t *testing.T, newBus Maker) {
	b, deliver := newBus(t, fastConfig())
	var all, named recorder
	record := func(r *recorder) bus.Handler {
		return bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
			r.recordCall(fmt.Sprint(e.Type, " ", e.Seq, " ", e.Chain))
			return nil
		})
	}

	markers := make(chan bus.HistoryChanged, 1)
	mustSubscribe(t, b, bus.Subscription{ID: "all", Handler: record(&all)})
	mustSubscribe(t, b, bus.Subscription{ID: "named", Types: []string{"t"}, Handler: record(&named)})
	mustSubscribe(t, b, bus.Subscription{
		ID: "markers",
		Handler: bus.OnHistoryChanged(func(_ context.Context, e bus.HistoryChanged) error {
			markers <- e
			return nil
		}),
	})

	newDelivery := func(id, eventType string, seq int64, chain bus.Chain) bus.Delivery {
		return bus.Delivery{
			ID:      id,
			Type:    eventType,
			Account: "user:u",
			Seq:     seq,
			Chain:   chain,
			Data:    fmt.Appendf(nil, `{"eventType":%q,"accountId":"u","seq":%d,"chain":"%s"}`, eventType, seq, chain),
		}
	}

	deliver(
		newDelivery("e1", "t", 1, 1),
		newDelivery("e2", "t", 2, 2),
		newDelivery("m", bus.TypeHistoryChanged, 1, 1),
		newDelivery("e3", "t", 2, 3),
	)

	marker := waitForSignal(t, "the marker", markers)
	if marker.AccountID != "u" || marker.Seq != 1 || marker.Chain != 1 {
		t.Errorf("got marker %+v, want seq 1 of u with chain 1", marker)
	}

	waitUntil(t, "all are handled", func() bool { return all.callCount() == 4 && named.callCount() == 3 })
	mustClose(t, b)
	want := []string{
		"t 1 0000000000000001",
		"t 2 0000000000000002",
		bus.TypeHistoryChanged + " 1 0000000000000001",
		"t 2 0000000000000003",
	}

	if got := all.callIDs(); !slices.Equal(got, want) {
		t.Errorf("got calls %v, want %v", got, want)
	}

	requireCalls(t, "named", &named, 3)
}
