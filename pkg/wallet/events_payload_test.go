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

// TestPayloadTypesHaveEachFieldOfTheEvents sends a ledger's own events through typed handlers. Each
// field of an event must come out again, so no field is missing and no name is wrong.
func TestPayloadTypesHaveEachFieldOfTheEvents(t *testing.T) {
	t.Parallel()
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	doEachOperation(t, l)
	deliveries := readDeliveries(t, l, testUser, testModel)

	b := membus.New(bus.Config{Synchronous: true})
	received := payloads{}
	_, err := b.Subscribe(bus.Subscription{ID: "all", Handler: received.routeEvents()})
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, d := range deliveries {
		err := b.Deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		types[d.Type] = true
		if d.SecondParty {
			continue
		}
		got := received[d.ID]
		if !reflect.DeepEqual(decodeFields(t, got), decodeFields(t, d.Data)) {
			t.Errorf("payload of %s:\ngot  %s\nwant %s", d.Type, got, d.Data)
		}
	}
	checkEqual(t, "event types", len(types), 5)
	err = b.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// readDeliveries reads all deliveries of the accounts, as the relay would publish them.
func readDeliveries(t *testing.T, l *wallet.Ledger, accounts ...wallet.Account) []bus.Delivery {
	t.Helper()
	var deliveries []bus.Delivery
	for _, a := range accounts {
		updates, err := l.UpdatesAfter(t.Context(), string(a), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range updates {
			deliveries = append(deliveries, u.Deliveries...)
		}
	}
	return deliveries
}

// TestPayloadsHaveBareIDs checks the ids of all parties, and that they lead back to the accounts.
func TestPayloadsHaveBareIDs(t *testing.T) {
	t.Parallel()
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	doEachOperation(t, l)
	userID := testUser.ID()
	modelID := testModel.ID()
	account := ""
	b := membus.New(bus.Config{Synchronous: true})
	_, err := b.Subscribe(bus.Subscription{ID: "all", Handler: bus.Route(
		wallet.OnEscrowHeld(func(_ context.Context, e wallet.EscrowHeld) error {
			checkEqual(t, "user of a hold", e.UserID, userID)
			return nil
		}),
		wallet.OnEscrowRefunded(func(_ context.Context, e wallet.EscrowRefunded) error {
			checkEqual(t, "user of a refund", e.UserID, userID)
			return nil
		}),
		wallet.OnEscrowSettled(func(_ context.Context, e wallet.EscrowSettled) error {
			checkEqual(t, "user of a settlement", e.UserID, userID)
			checkEqual(t, "model of a settlement", e.ModelID, modelID)
			return nil
		}),
		wallet.OnEscrowPartialSettled(func(_ context.Context, e wallet.EscrowPartialSettled) error {
			checkEqual(t, "account of userId", wallet.UserAccount(e.UserID), testUser)
			checkEqual(t, "account of modelId", wallet.ModelAccount(e.ModelID), testModel)
			return nil
		}),
		wallet.OnBalanceUpdated(func(_ context.Context, e wallet.BalanceUpdated) error {
			checkEqual(t, "bare accountId", e.AccountID, wallet.Account(account).ID())
			checkEqual(t, "account of a balance", string(e.Account()), account)
			return nil
		}),
	)})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range readDeliveries(t, l, testUser, testModel) {
		account = d.Account
		err := b.Deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
	}
	err = b.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// payloads are the payloads that typed handlers received, encoded again, by event id.
type payloads map[string][]byte

func (p payloads) routeEvents() bus.Handler {
	return bus.Route(
		wallet.OnEscrowHeld(func(_ context.Context, e wallet.EscrowHeld) error {
			return p.encodePayload(e.EventID, e)
		}),
		wallet.OnEscrowSettled(func(_ context.Context, e wallet.EscrowSettled) error {
			return p.encodePayload(e.EventID, e)
		}),
		wallet.OnEscrowRefunded(func(_ context.Context, e wallet.EscrowRefunded) error {
			return p.encodePayload(e.EventID, e)
		}),
		wallet.OnEscrowPartialSettled(func(_ context.Context, e wallet.EscrowPartialSettled) error {
			return p.encodePayload(e.EventID, e)
		}),
		wallet.OnBalanceUpdated(func(_ context.Context, e wallet.BalanceUpdated) error {
			return p.encodePayload(e.EventID, e)
		}),
	)
}

func (p payloads) encodePayload(eventID string, payload any) error {
	encoded, err := json.Marshal(payload)
	p[eventID] = encoded
	return err
}

// decodeFields decodes a JSON object. Optional fields that are missing count as empty.
func decodeFields(t *testing.T, data []byte) map[string]any {
	t.Helper()
	fields := map[string]any{"correlationId": "", "metadata": nil}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err := decoder.Decode(&fields)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	// Go omits trailing zeros of a second's fraction.
	if timestamp, ok := fields["timestamp"].(string); ok {
		timestamp = strings.TrimSuffix(timestamp, "Z")
		fields["timestamp"] = strings.TrimRight(strings.TrimRight(timestamp, "0"), ".")
	}
	return fields
}
