package realtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

const (
	deliverPage  = 256         // outbox rows in one step
	deliverPause = time.Second // after an error, and at most between two looks at the outbox
)

// deliverer takes the outbox to a bus in the process: what the relay is for Redis.
type deliverer struct {
	source  relay.Source
	bus     *membus.Bus
	log     *slog.Logger
	arrived chan struct{} // holds a token when there are new rows
}

func newDeliverer(source relay.Source, b *membus.Bus, log *slog.Logger) *deliverer {
	return &deliverer{source: source, bus: b, log: log, arrived: make(chan struct{}, 1)}
}

// signalRows has the outbox looked at. It never blocks.
func (d *deliverer) signalRows() {
	select {
	case d.arrived <- struct{}{}:
	default:
	}
}

// runDeliveries delivers until ctx ends, then what the outbox still holds.
func (d *deliverer) runDeliveries(ctx context.Context) error {
	working := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		d.deliverOrLog(working)
		select {
		case <-ctx.Done():
		case <-d.arrived:
		case <-time.After(deliverPause):
		}
	}
	d.deliverOrLog(working)
	return nil
}

func (d *deliverer) deliverOrLog(ctx context.Context) {
	if err := d.deliverOutbox(ctx); err != nil {
		d.log.Warn("delivering the outbox failed; retrying", "error", err)
	}
}

// deliverOutbox delivers all rows in their order and deletes them.
func (d *deliverer) deliverOutbox(ctx context.Context) error {
	for {
		rows, err := d.source.Pending(ctx, 0, deliverPage)
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]int64, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
			if err := d.deliverRow(ctx, &rows[i]); err != nil {
				return err
			}
		}
		if err := d.source.Published(ctx, ids); err != nil {
			return err
		}
	}
}

func (d *deliverer) deliverRow(ctx context.Context, row *bus.OutboxRow) error {
	for i := range row.Updates {
		if err := d.bus.Deliver(ctx, row.Updates[i].Deliveries...); err != nil {
			return err
		}
	}
	return nil
}
