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

// trafficWorkers make requests side by side; each has some open escrows.
const trafficWorkers = 16

// traffic makes up operations at the chosen rate, over the HTTP API like anybody
// else. user:demo and model:demo are left alone: they are the reader's.
func (d *demo) traffic(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Limit(d.cfg.Traffic), 1)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: trafficWorkers}}
	defer client.CloseIdleConnections()
	var g errgroup.Group
	var ticket sync.Mutex // one waits for its turn, so that the pace is even
	for i := range min(trafficWorkers, 1+int(d.cfg.Traffic)) {
		w := worker{demo: d, client: client, user: fmt.Sprintf("user:fan-%d", i%5+1)}
		g.Go(func() error {
			for {
				ticket.Lock()
				err := limit.Wait(ctx)
				ticket.Unlock()
				if err == nil {
					err = w.step(ctx)
				}
				switch {
				case ctx.Err() != nil:
					return nil //nolint:nilerr // stopped as asked, in the middle of something
				case err != nil:
					return fmt.Errorf("--traffic: %w", err)
				}
			}
		})
	}
	return g.Wait()
}

// worker is a user who spends, and the queue that serves it.
type worker struct {
	demo   *demo
	client *http.Client
	user   string
	held   []held
}

type held struct {
	escrow string
	amount int64
}

// step makes one operation: mostly holds and what ends them.
func (w *worker) step(ctx context.Context) error {
	features := [][2]string{{"chip_menu", "chip_menu_purchase"}, {"spin_wheel", "spin_wheel_play"}, {"performance", "performance_request"}}
	if len(w.held) < 1+rand.IntN(4) {
		amount := 1 + rand.Int64N(50)
		feature := features[rand.IntN(len(features))]
		status, answer, err := w.post(ctx, "/v1/accounts/"+w.user+"/holds", map[string]any{
			"amount": amount, "reason": feature[1], "queueItemId": "q-" + uuid.NewString()[:8], "featureType": feature[0],
		})
		switch {
		case err != nil:
			return err
		case status == http.StatusCreated:
			w.held = append(w.held, held{answer.EscrowID, amount})
			return nil
		case status == http.StatusPaymentRequired || answer.Code == "account_not_found":
			return w.end(ctx, http.StatusCreated, "/v1/accounts/"+w.user+"/credits",
				map[string]any{"amount": 500 + rand.Int64N(500), "reason": "promotional_award"})
		}
		return unexpected("hold", status, answer)
	}
	h := w.held[0]
	w.held = w.held[1:]
	model, path := fmt.Sprintf("model:star-%d", 1+rand.IntN(2)), "/v1/escrows/"+h.escrow
	body := map[string]any{"queueItemId": "q"}
	switch n := rand.IntN(10); {
	case n < 2:
		body["amount"], body["reason"] = h.amount, "performance_abandoned"
		return w.end(ctx, http.StatusOK, path+"/refund", body)
	case n < 4 && h.amount > 1:
		body["modelId"], body["refundAmount"], body["settleAmount"], body["reason"] = model, h.amount/2, h.amount-h.amount/2, "partial_performance"
		return w.end(ctx, http.StatusOK, path+"/partial-settle", body)
	default:
		body["modelId"], body["amount"], body["reason"] = model, h.amount, "performance_completed"
		return w.end(ctx, http.StatusOK, path+"/settle", body)
	}
}

// end makes an operation that has to succeed.
func (w *worker) end(ctx context.Context, want int, path string, body map[string]any) error {
	status, answer, err := w.post(ctx, path, body)
	if err == nil && status != want {
		err = unexpected(path, status, answer)
	}
	return err
}

type trafficAnswer struct{ EscrowID, Code, Detail string }

var errTraffic = errors.New("unexpected answer")

func unexpected(what string, status int, a trafficAnswer) error {
	if status == http.StatusServiceUnavailable {
		return nil // more than the ledger takes: the next step tries again
	}
	return fmt.Errorf("%w: %s: %d %s: %s", errTraffic, what, status, a.Code, a.Detail)
}

func (w *worker) post(ctx context.Context, path string, body map[string]any) (int, trafficAnswer, error) {
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
