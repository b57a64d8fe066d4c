package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/client"
)

// trafficWorkers is the largest number of workers. Each worker has some open escrows.
const trafficWorkers = 16

// trafficUsers is the number of users that the workers share.
const trafficUsers = 5

// runTraffic makes random operations at the chosen rate, over the HTTP API as any client. It does
// not use user:demo and model:demo, which are for the reader.
func (d *demo) runTraffic(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Limit(d.cfg.Traffic), 1)
	ledger, err := client.NewLedger(d.coreURL, client.LedgerConfig{Token: client.StaticToken(d.serviceToken)})
	if err != nil {
		return err
	}
	defer ledger.Close()

	var g errgroup.Group
	var turn sync.Mutex // only one worker waits for the limiter, so that the pace is even
	for i := range min(trafficWorkers, 1+int(d.cfg.Traffic)) {
		w := worker{ledger: ledger, user: fmt.Sprintf("user:fan-%d", i%trafficUsers+1)}
		g.Go(func() error {
			for {
				turn.Lock()
				err := limit.Wait(ctx)
				turn.Unlock()
				if err == nil {
					err = w.makeOperation(ctx)
				}
				var noAnswer *client.NoAnswerError
				switch {
				case ctx.Err() != nil:
					return nil //nolint:nilerr // a stop interrupts the operation
				case errors.As(err, &noAnswer): // the ledger is overloaded for long; the worker goes on
				case err != nil:
					return fmt.Errorf("--traffic: %w", err)
				}
			}
		})
	}
	return g.Wait()
}

// worker is a user who spends points, and the queue that serves the user.
type worker struct {
	ledger  *client.Ledger
	user    string
	escrows []client.Receipt // of the open holds, the oldest first
}

// makeOperation holds points, or closes the oldest escrow if there are enough of them.
func (w *worker) makeOperation(ctx context.Context) error {
	enough := 1 + rand.IntN(4)
	if len(w.escrows) < enough {
		return w.holdPoints(ctx)
	}
	escrow := w.escrows[0]
	w.escrows = w.escrows[1:]
	return w.closeEscrow(ctx, escrow)
}

// holdPoints holds points of the user. If the user has too few, it credits some instead.
func (w *worker) holdPoints(ctx context.Context) error {
	features := []struct{ feature, reason string }{
		{"chip_menu", "chip_menu_purchase"},
		{"spin_wheel", "spin_wheel_play"},
		{"performance", "performance_request"},
	}
	chosen := features[rand.IntN(len(features))]
	receipt, err := w.ledger.Hold(ctx, client.Hold{
		Account:     w.user,
		Amount:      1 + rand.Int64N(50),
		Reason:      chosen.reason,
		QueueItemID: "q-" + uuid.NewString()[:8],
		FeatureType: chosen.feature,
	})
	switch {
	case errors.Is(err, client.ErrInsufficientFunds), errors.Is(err, client.ErrAccountNotFound):
		_, err = w.ledger.Credit(ctx, client.Credit{
			Account: w.user,
			Amount:  500 + rand.Int64N(500),
			Reason:  "promotional_award",
		})
	case err == nil:
		w.escrows = append(w.escrows, receipt)
	}
	return err
}

// closeEscrow refunds, splits or settles an escrow. Most escrows are settled.
func (w *worker) closeEscrow(ctx context.Context, escrow client.Receipt) error {
	model := fmt.Sprintf("model:star-%d", 1+rand.IntN(2))
	var operation client.Operation
	switch n := rand.IntN(10); {
	case n < 2:
		operation = client.Refund{
			EscrowID:    escrow.EscrowID,
			Amount:      escrow.Amount,
			Reason:      "performance_abandoned",
			QueueItemID: "q",
		}
	case n < 4 && escrow.Amount > 1:
		refund := escrow.Amount / 2
		operation = client.PartialSettle{
			EscrowID:     escrow.EscrowID,
			ModelID:      model,
			RefundAmount: refund,
			SettleAmount: escrow.Amount - refund,
			Reason:       "partial_performance",
			QueueItemID:  "q",
		}
	default:
		operation = client.Settle{
			EscrowID:    escrow.EscrowID,
			ModelID:     model,
			Amount:      escrow.Amount,
			Reason:      "performance_completed",
			QueueItemID: "q",
		}
	}
	_, err := w.ledger.Do(ctx, operation)
	return err
}
