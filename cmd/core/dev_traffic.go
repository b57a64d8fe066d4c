package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// trafficWorkers is the largest number of workers. Each worker has some open escrows.
const trafficWorkers = 16

// trafficUsers is the number of users that the workers share.
const trafficUsers = 5

// runTraffic makes random operations at the chosen rate, over the HTTP API as any client. It does
// not use user:demo and model:demo, which are for the reader.
func (d *demo) runTraffic(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Limit(d.cfg.Traffic), 1)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: trafficWorkers}}
	defer client.CloseIdleConnections()

	var g errgroup.Group
	var turn sync.Mutex // only one worker waits for the limiter, so that the pace is even
	for i := range min(trafficWorkers, 1+int(d.cfg.Traffic)) {
		w := worker{
			demo:   d,
			client: client,
			user:   fmt.Sprintf("user:fan-%d", i%trafficUsers+1),
		}
		g.Go(func() error {
			for {
				turn.Lock()
				err := limit.Wait(ctx)
				turn.Unlock()
				if err == nil {
					err = w.makeOperation(ctx)
				}
				switch {
				case ctx.Err() != nil:
					return nil //nolint:nilerr // a stop interrupts the operation
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
	demo    *demo
	client  *http.Client
	user    string
	escrows []openEscrow // the oldest first
}

type openEscrow struct {
	id     string
	amount int64
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
	amount := 1 + rand.Int64N(50)
	chosen := features[rand.IntN(len(features))]
	status, answer, err := w.postJSON(ctx, "/v1/accounts/"+w.user+"/holds", map[string]any{
		"amount":      amount,
		"reason":      chosen.reason,
		"queueItemId": "q-" + uuid.NewString()[:8],
		"featureType": chosen.feature,
	})
	switch {
	case err != nil:
		return err
	case status == http.StatusCreated:
		w.escrows = append(w.escrows, openEscrow{id: answer.EscrowID, amount: amount})
		return nil
	case status == http.StatusPaymentRequired, answer.Code == "account_not_found":
		return w.creditPoints(ctx)
	}
	return unexpectedAnswer("hold", status, answer)
}

func (w *worker) creditPoints(ctx context.Context) error {
	return w.postExpecting(ctx, http.StatusCreated, "/v1/accounts/"+w.user+"/credits", map[string]any{
		"amount": 500 + rand.Int64N(500),
		"reason": "promotional_award",
	})
}

// closeEscrow refunds, splits or settles an escrow. Most escrows are settled.
func (w *worker) closeEscrow(ctx context.Context, escrow openEscrow) error {
	path := "/v1/escrows/" + escrow.id
	model := fmt.Sprintf("model:star-%d", 1+rand.IntN(2))
	n := rand.IntN(10)
	switch {
	case n < 2:
		return w.postExpecting(ctx, http.StatusOK, path+"/refund", map[string]any{
			"queueItemId": "q",
			"amount":      escrow.amount,
			"reason":      "performance_abandoned",
		})
	case n < 4 && escrow.amount > 1:
		refund := escrow.amount / 2
		return w.postExpecting(ctx, http.StatusOK, path+"/partial-settle", map[string]any{
			"queueItemId":  "q",
			"modelId":      model,
			"refundAmount": refund,
			"settleAmount": escrow.amount - refund,
			"reason":       "partial_performance",
		})
	}
	return w.postExpecting(ctx, http.StatusOK, path+"/settle", map[string]any{
		"queueItemId": "q",
		"modelId":     model,
		"amount":      escrow.amount,
		"reason":      "performance_completed",
	})
}

// postExpecting makes a request that must have the given status.
func (w *worker) postExpecting(ctx context.Context, want int, path string, body map[string]any) error {
	status, answer, err := w.postJSON(ctx, path, body)
	if err != nil {
		return err
	}
	if status != want {
		return unexpectedAnswer(path, status, answer)
	}
	return nil
}

type trafficAnswer struct {
	EscrowID string
	Code     string
	Detail   string
}

var errTraffic = errors.New("unexpected answer")

// unexpectedAnswer returns an error, except for 503: the ledger is overloaded and the worker makes
// another operation later.
func unexpectedAnswer(request string, status int, answer trafficAnswer) error {
	if status == http.StatusServiceUnavailable {
		return nil
	}
	return fmt.Errorf("%w: %s: %d %s: %s", errTraffic, request, status, answer.Code, answer.Detail)
}

func (w *worker) postJSON(ctx context.Context, path string, body map[string]any) (int, trafficAnswer, error) {
	var answer trafficAnswer
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.demo.coreURL+path, bytes.NewReader(raw))
	if err != nil {
		return 0, answer, err
	}
	req.Header.Set("Authorization", "Bearer "+w.demo.serviceToken)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "traffic-"+uuid.NewString())
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, answer, err
	}
	defer func() { _ = resp.Body.Close() }()
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return resp.StatusCode, answer, err
}
