package membus_test

import (
	"context"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
)

func ExampleBus() {
	ctx := context.Background()
	b := membus.New(bus.Config{Synchronous: true}) // Publish returns when all handlers are done
	_, err := b.Subscribe(bus.Subscription{
		ID:    "greeter",
		Types: []string{"shop.opened"},
		Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
			fmt.Println("handled", e.Type, "of", e.Account)
			return nil
		}),
	})
	if err != nil {
		panic(err)
	}
	event := bus.Event{ID: "4711", Type: "shop.opened", Account: "user:u1", Data: []byte(`{}`)}
	for range 2 {
		statuses, err := b.Publish(ctx, event)
		fmt.Println(statuses[0] == bus.Published, statuses[0] == bus.Duplicate, err)
	}
	// Output:
	// handled shop.opened of user:u1
	// true false <nil>
	// false true <nil>
}
