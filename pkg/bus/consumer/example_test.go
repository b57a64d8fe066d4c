package consumer_test

import (
	"context"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// A service handles events until ctx ends, and then waits for the events in flight.
func ExampleNew() {
	serve := func(ctx context.Context, redisURL string) error {
		rdb, err := redisconn.Open(redisURL)
		if err != nil {
			return err
		}
		defer func() { _ = rdb.Close() }()
		b, err := consumer.New(rdb, bus.Config{Group: "activity-feed"})
		if err != nil {
			return err
		}
		printID := func(_ context.Context, e *bus.Event) error {
			fmt.Println(e.ID)
			return nil
		}
		_, err = b.Subscribe(bus.Subscription{ID: "feed", Handler: bus.HandlerFunc(printID)})
		if err != nil {
			return err
		}
		return b.Run(ctx)
	}
	fmt.Println(serve(context.Background(), "no-redis://"))
	// Output: redis url: scheme "no-redis" is unknown; use redis://, rediss://, redis+cluster:// or redis+sentinel://
}
