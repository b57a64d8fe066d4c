package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
)

// Bought is the payload of an event of a shop.
type Bought struct {
	Version string `json:"version"`
	Item    string `json:"item"`
}

// Check refuses versions that this program does not support.
func (b *Bought) Check() error {
	if b.Version != "1.0" {
		return fmt.Errorf("version must be 1.0, got %q", b.Version)
	}
	return nil
}

func ExampleTyped() {
	ctx := context.Background()
	b := membus.New(bus.Config{Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
	_, err := b.Subscribe(bus.Subscription{
		ID: "receipts",
		Handler: bus.Typed("shop.bought", func(_ context.Context, e Bought) error {
			fmt.Println("bought:", e.Item)
			return nil
		}),
	})
	if err != nil {
		panic(err)
	}
	for _, data := range []string{`{"version":"1.0","item":"hat"}`, `{"version":"2.0","items":["hat"]}`} {
		if _, err := b.Publish(ctx, bus.Event{Type: "shop.bought", Account: "user:u1", Data: []byte(data)}); err != nil {
			panic(err)
		}
	}
	letters, err := b.DeadLetters().List(ctx, "", 10)
	fmt.Println(len(letters), "dead letter:", letters[0].Error, err)
	// Output:
	// bought: hat
	// 1 dead letter: check shop.bought: version must be 1.0, got "2.0" <nil>
}

func ExamplePermanent() {
	ctx := context.Background()
	b := membus.New(bus.Config{Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
	attempts := 0
	unsubscribe, err := b.Subscribe(bus.Subscription{
		ID: "mailer",
		Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
			attempts++
			return bus.Permanent(errors.New("no such address"))
		}),
	})
	if err != nil {
		panic(err)
	}
	if _, err := b.Publish(ctx, bus.Event{ID: "4711", Type: "user.joined", Data: []byte(`{}`)}); err != nil {
		panic(err)
	}
	letters, err := b.DeadLetters().List(ctx, "", 10)
	fmt.Println(attempts, "attempt;", letters[0].Event.ID, "failed for", letters[0].Subscriber, err)
	fmt.Println(unsubscribe(ctx), b.Close(ctx))
	// Output:
	// 1 attempt; 4711 failed for mailer <nil>
	// <nil> <nil>
}

// One subscription for several types, each with its own payload.
func ExampleRoute() {
	b := membus.New(bus.Config{Synchronous: true})
	type delivered struct{ Items []string }
	handler := bus.Route(
		bus.Typed("shop.bought", func(_ context.Context, e Bought) error {
			fmt.Println("one less:", e.Item)
			return nil
		}),
		bus.Typed("shop.delivered", func(_ context.Context, e delivered) error {
			fmt.Println("more:", e.Items)
			return nil
		}),
	)
	_, err := b.Subscribe(bus.Subscription{ID: "stock", Handler: handler})
	if err != nil {
		panic(err)
	}
	_, err = b.Publish(context.Background(),
		bus.Event{Type: "shop.bought", Account: "user:u1", Data: []byte(`{"version":"1.0","item":"hat"}`)},
		bus.Event{Type: "shop.delivered", Account: "user:u1", Data: []byte(`{"items":["coat","hat"]}`)})
	fmt.Println(err)
	// Output:
	// one less: hat
	// more: [coat hat]
	// <nil>
}

// A handler that fails is called again after a delay. Other handlers do not wait for it.
func ExampleConfig() {
	b := membus.New(bus.Config{Synchronous: true, Attempts: 3, FirstDelay: time.Millisecond})
	attempts := 0
	audit := func(context.Context, *bus.Event) error {
		attempts++
		fmt.Println("audit, attempt", attempts)
		if attempts < 3 {
			return errors.New("not available")
		}
		return nil
	}
	mail := func(context.Context, *bus.Event) error {
		fmt.Println("mail")
		return nil
	}
	subscriptions := []bus.Subscription{
		{ID: "audit", Priority: 1, Handler: bus.HandlerFunc(audit)},
		{ID: "mail", Priority: 2, Handler: bus.HandlerFunc(mail)},
	}
	for _, s := range subscriptions {
		if _, err := b.Subscribe(s); err != nil {
			panic(err)
		}
	}
	_, err := b.Publish(context.Background(), bus.Event{Type: "user.joined", Data: []byte(`{}`)})
	fmt.Println(err)
	// Unordered output:
	// audit, attempt 1
	// mail
	// audit, attempt 2
	// audit, attempt 3
	// <nil>
}

// An event that a subscription failed to handle is kept. It is handled again by a replay.
func ExampleDeadLetters() {
	ctx := context.Background()
	b := membus.New(bus.Config{Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
	serverWorks := false
	mail := func(_ context.Context, e *bus.Event) error {
		if !serverWorks {
			return bus.Permanent(errors.New("the mail server refused the mail"))
		}
		fmt.Println("mailed", e.ID)
		return nil
	}
	_, err := b.Subscribe(bus.Subscription{ID: "mailer", Handler: bus.HandlerFunc(mail)})
	if err != nil {
		panic(err)
	}
	if _, err := b.Publish(ctx, bus.Event{ID: "4711", Type: "user.joined", Data: []byte(`{}`)}); err != nil {
		panic(err)
	}
	letters, err := b.DeadLetters().List(ctx, "", 10)
	fmt.Println(letters[0].Event.ID+":", letters[0].Error, err)

	serverWorks = true
	if err := b.DeadLetters().Replay(ctx, letters[0].ID); err != nil { // or ReplayAll
		panic(err)
	}
	fmt.Println(b.Close(ctx)) // waits for the handler
	// Output:
	// 4711: the mail server refused the mail <nil>
	// mailed 4711
	// <nil>
}
