package wallet_test

import (
	"context"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// This example subscribes to the ledger's events on the bus in memory. A production program uses
// consumer.New.
func ExampleOnEscrowHeld() {
	b := membus.New(bus.Config{Synchronous: true})
	_, err := b.Subscribe(bus.Subscription{ID: "feed", Handler: bus.Route(
		wallet.OnEscrowHeld(func(_ context.Context, e wallet.EscrowHeld) error {
			fmt.Println(e.UserID, "holds", e.Amount, "for", e.FeatureType)
			return nil
		}),
		wallet.OnEscrowSettled(func(_ context.Context, e wallet.EscrowSettled) error {
			fmt.Println(e.ModelID, "earned", e.Amount)
			return nil
		}),
	)})
	if err != nil {
		panic(err)
	}
	_, err = b.Publish(context.Background(),
		bus.Event{Type: wallet.EventEscrowHeld, Account: "user:u1", Data: []byte(`{"version":"1.0","userId":"u1","amount":50,"featureType":"chip_menu"}`)},
		bus.Event{Type: wallet.EventEscrowSettled, Account: "user:u1", Data: []byte(`{"version":"1.0","modelId":"m1","amount":50}`)})
	fmt.Println(err)
	// Output:
	// u1 holds 50 for chip_menu
	// m1 earned 50
	// <nil>
}
