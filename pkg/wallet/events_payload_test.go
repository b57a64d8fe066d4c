package wallet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestPayloadTypesHoldWhatTheLedgerWrites sends a ledger's own events through typed handlers: each
// field of an event must come out again, so no name is wrong and none is missing.
func TestPayloadTypesHoldWhatTheLedgerWrites(t *testing.T) {
	t.Parallel()
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	const user, model = wallet.Account("user:u1"), wallet.Account("model:m1")
	op := credit(user, 1000, "c1")
	op.Metadata, op.CorrelationID = json.RawMessage(`{"a":"b"}`), "corr"
	mustDo(t, l, op)
	h1 := mustDo(t, l, hold(user, 300, "h1"))
	h2 := mustDo(t, l, hold(user, 200, "h2"))
	h3 := mustDo(t, l, hold(user, 100, "h3"))
	mustDo(t, l, settle(h1.EscrowID, model, 300, "s1"))
	mustDo(t, l, refund(h2.EscrowID, 200, "r1"))
	mustDo(t, l, partial(h3.EscrowID, model, 40, 60, "p1"))

	var deliveries []bus.Delivery
	for _, account := range []wallet.Account{user, model} {
		groups, err := l.UpdatesAfter(t.Context(), string(account), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			deliveries = append(deliveries, g.Deliveries...)
		}
	}
	b := membus.New(bus.Config{Synchronous: true})
	got := map[string][]byte{} // event id -> what the typed handler saw
	handlers := bus.Route(
		wallet.OnEscrowHeld(func(_ context.Context, e wallet.EscrowHeld) error { return keep(got, e.EventID, e) }),
		wallet.OnEscrowSettled(func(_ context.Context, e wallet.EscrowSettled) error { return keep(got, e.EventID, e) }),
		wallet.OnEscrowRefunded(func(_ context.Context, e wallet.EscrowRefunded) error { return keep(got, e.EventID, e) }),
		wallet.OnEscrowPartialSettled(func(_ context.Context, e wallet.EscrowPartialSettled) error { return keep(got, e.EventID, e) }),
		wallet.OnBalanceUpdated(func(_ context.Context, e wallet.BalanceUpdated) error { return keep(got, e.EventID, e) }),
	)
	if _, err := b.Subscribe(bus.Subscription{ID: "all", Handler: handlers}); err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, d := range deliveries {
		if err := b.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if !d.SecondParty && !reflect.DeepEqual(fields(t, got[d.ID]), fields(t, d.Data)) {
			t.Errorf("%s came out as %s", d.Data, got[d.ID])
		}
		types[d.Type] = true
	}
	if len(types) != 5 {
		t.Errorf("tried types %v, want all five", types)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func keep(got map[string][]byte, id string, payload any) error {
	text, err := json.Marshal(payload)
	got[id] = text
	return err
}

// fields are a JSON object's; those that are not given in some events count as given and empty.
func fields(t *testing.T, data []byte) map[string]any {
	t.Helper()
	m := map[string]any{"correlationId": "", "metadata": nil}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if when, ok := m["timestamp"].(string); ok { // Go leaves zeros at the end out
		m["timestamp"] = strings.TrimRight(strings.TrimRight(strings.TrimSuffix(when, "Z"), "0"), ".")
	}
	return m
}
