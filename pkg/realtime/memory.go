package realtime

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

const (
	deliverPage  = 256         // the number of outbox rows that are read at a time
	deliverPause = time.Second // the maximum time between two reads of the outbox
)

// deliverer delivers the rows of the outbox to a bus in the process. It takes the place of the relay.
type deliverer struct {
	source  relay.Source
	bus     *membus.Bus
	log     *slog.Logger
	limit   *rate.Sometimes // of lines about failures
	arrived chan struct{}   // has a value if there are new rows
}

func newDeliverer(source relay.Source, b *membus.Bus, log *slog.Logger) *deliverer {
	return &deliverer{
		source:  source,
		bus:     b,
		log:     log,
		limit:   &rate.Sometimes{First: 1, Interval: time.Minute},
		arrived: make(chan struct{}, 1),
	}
}

// signalRows wakes runDeliveries. It does not block.
func (d *deliverer) signalRows() {
	select {
	case d.arrived <- struct{}{}:
	default:
	}
}

// runDeliveries delivers rows until ctx ends. Before it returns, it delivers the remaining rows.
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
	err := d.deliverOutbox(ctx)
	if err != nil {
		d.limit.Do(func() {
			d.log.Warn("delivering the outbox failed; retrying", "error", err)
		})
	}
}

// deliverOutbox delivers all rows in order and deletes them.
func (d *deliverer) deliverOutbox(ctx context.Context) error {
	for {
		rows, err := d.source.Pending(ctx, 0, deliverPage)
		if err != nil || len(rows) == 0 {
			return err
		}

		ids := make([]int64, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
			err := d.deliverRow(ctx, &rows[i])
			if err != nil {
				return err
			}
		}

		err = d.source.Published(ctx, ids)
		if err != nil {
			return err
		}
	}
}

func (d *deliverer) deliverRow(ctx context.Context, row *bus.OutboxRow) error {
	for i := range row.Updates {
		err := d.bus.Deliver(ctx, row.Updates[i].Deliveries...)
		if err != nil {
			return err
		}
	}
	return nil
}
