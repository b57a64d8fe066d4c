package membus_test

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/bustest"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
)

func TestMemoryBusConforms(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T, cfg bus.Config) (bus.Bus, func(...bus.Delivery)) {
		b := membus.New(cfg)
		streamtest.RunBus(t, b)
		return b, func(deliveries ...bus.Delivery) {
			if err := b.Deliver(t.Context(), deliveries...); err != nil {
				t.Error(err)
			}
		}
	})
}
