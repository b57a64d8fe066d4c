package realtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/realtime"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// A test can run the core without Redis. The example holds points, waits for the event and reads the
// balance.
func ExampleOpen_memory() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	directory, err := os.MkdirTemp("", "realtime")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	database := "sqlite:" + filepath.Join(directory, "ledger.db")
	if _, err := wallet.Migrate(ctx, database); err != nil {
		panic(err)
	}

	core, err := realtime.Open(ctx, realtime.Config{Database: database, Memory: true})
	if err != nil {
		panic(err)
	}
	held := make(chan struct{})
	handler := wallet.OnEscrowHeld(func(_ context.Context, e wallet.EscrowHeld) error {
		fmt.Println("held", e.Amount, "for", e.FeatureType)
		close(held)
		return nil
	})
	_, err = core.Bus.Subscribe(bus.Subscription{ID: "feed", Handler: handler})
	if err != nil {
		panic(err)
	}
	stopped := make(chan error)
	go func() { stopped <- core.Run(ctx) }()

	_, err = core.Ledger.Do(ctx, wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: "c1",
		Account:        "user:u1",
		Amount:         500,
		Reason:         "user_signup_bonus",
	})
	if err != nil {
		panic(err)
	}
	_, err = core.Ledger.Do(ctx, wallet.Op{
		Operation:      wallet.OpHold,
		IdempotencyKey: "h1",
		Account:        "user:u1",
		Amount:         100,
		Reason:         "chip_menu_purchase",
		QueueItemID:    "q1",
		FeatureType:    "chip_menu",
	})
	if err != nil {
		panic(err)
	}
	<-held
	balance, err := core.Ledger.Balance(ctx, "user:u1")
	fmt.Println("available", balance.Available, "in escrow", balance.Escrow, err)

	cancel()
	fmt.Println(<-stopped, core.Close())
	// Output:
	// held 100 for chip_menu
	// available 400 in escrow 100 <nil>
	// <nil> <nil>
}

// In production the core uses Postgres, and Redis for events and balances.
func ExampleOpen() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	core, err := realtime.Open(ctx, realtime.Config{
		Database: os.Getenv("DATABASE_URL"),
		RedisURL: os.Getenv("REDIS_URL"),
		Group:    "activity-feed",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := wallet.OnEscrowSettled(func(_ context.Context, e wallet.EscrowSettled) error {
		fmt.Println(e.ModelID, "earned", e.Amount)
		return nil
	})
	_, err = core.Bus.Subscribe(bus.Subscription{ID: "feed", Handler: handler})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- core.Run(ctx) }()

	receipt, err := core.Ledger.Do(ctx, wallet.Op{
		Operation:      wallet.OpHold,
		IdempotencyKey: "purchase-4711",
		Account:        "user:u1",
		Amount:         100,
		Reason:         "chip_menu_purchase",
		QueueItemID:    "q-4711",
		FeatureType:    "chip_menu",
	})
	fmt.Println(receipt.EscrowID, err)
	balance, known, err := core.Cache.Get(ctx, "user:u1")
	fmt.Println(balance.Available, known, err)

	cancel()
	fmt.Println(<-stopped, core.Close())
}
