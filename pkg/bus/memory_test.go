package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/bustest"
)

func TestMemoryIsABus(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T, cfg bus.Config) (bus.Bus, func(...bus.Delivery)) {
		b := bus.NewMemory(cfg)
		runBus(t, b)
		return b, func(deliveries ...bus.Delivery) {
			if err := b.Deliver(t.Context(), deliveries...); err != nil {
				t.Error(err)
			}
		}
	})
}

// runBus runs a bus until the test ends.
func runBus(t *testing.T, b bus.Bus) {
	t.Helper()
	ran := make(chan error, 1)
	go func() { ran <- b.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = b.Close(ctx) // what a test leaves unfinished is its own affair
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
