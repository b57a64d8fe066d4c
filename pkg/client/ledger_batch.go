package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// MaxBatch is the maximum number of operations in a batch.
const MaxBatch = 1000

// BatchResult is the result of one operation of a batch. It has a Receipt or a Problem.
type BatchResult struct {
	Status   int      `json:"status"`            // that the operation's single call would have returned; 0: no answer
	Receipt  *Receipt `json:"receipt,omitempty"` // the operation was done
	Problem  *Problem `json:"problem,omitempty"` // the operation was not done
	Replayed bool     `json:"replayed,omitempty"`
}

// Err returns nil if the operation was done, or else its Problem. If the batch ended without an
// answer for the operation, Err returns an error too.
func (r *BatchResult) Err() error {
	switch {
	case r.Receipt != nil:
		return nil
	case r.Problem != nil:
		return r.Problem
	}
	return errNoResult
}

var errNoResult = errors.New("client: the operation has no result; the error of the batch says why")

// Batch performs 1 to MaxBatch operations in one request. It returns a result for each, in the same
// order. Each operation succeeds or fails on its own: a batch is not a transaction. Operations on the
// same account are performed in their order.
//
// If there is no answer, the batch is sent again with the same keys. Operations that the core could
// not take at the moment (status 503) are sent again on their own, so they may be performed after
// later ones. If an operation has no result in the end, its status is 0 and the error is not nil.
// The other results are valid also then.
func (l *Ledger) Batch(ctx context.Context, operations []Operation) ([]BatchResult, error) {
	if len(operations) == 0 || len(operations) > MaxBatch {
		return nil, fmt.Errorf("client: a batch must have 1 to %d operations, got %d", MaxBatch, len(operations))
	}
	requests := make([]request, len(operations))
	for i, op := range operations {
		r, err := op.describe()
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		requests[i] = r
	}
	b := &batch{
		ledger:    l,
		requests:  requests,
		results:   make([]BatchResult, len(requests)),
		mayBeDone: make([]bool, len(requests)),
		end:       time.Now().Add(l.retryFor),
	}
	for i := range requests {
		b.open = append(b.open, i)
	}
	return b.send(ctx)
}

// batch is a batch that is sent until each operation has a result.
type batch struct {
	ledger    *Ledger
	requests  []request
	results   []BatchResult
	mayBeDone []bool    // an earlier attempt of the operation may be done yet
	open      []int     // the operations to send
	end       time.Time // no attempt begins later
}

// send sends the batch until each operation has a result that a retry would not change, or until end
// or the end of ctx.
func (b *batch) send(ctx context.Context) ([]BatchResult, error) {
	delays := newDelays()
	for {
		err := b.sendOpen(ctx)
		if err != nil {
			for _, i := range b.open {
				b.results[i] = BatchResult{}
			}
			return b.results, err
		}
		delay := delays.NextBackOff()
		for _, i := range b.open {
			delay = max(delay, b.results[i].Problem.retryAfter())
		}
		isLast := len(b.open) == 0 || time.Now().Add(delay).After(b.end)
		if isLast {
			return b.results, nil
		}
		err = wait(ctx, delay)
		if err != nil {
			return b.results, fmt.Errorf("client: batch: the core could not take %d operations: %w", len(b.open), err)
		}
	}
}

// sendOpen sends the open operations once and stores their results. Those without a final result
// stay open.
func (b *batch) sendOpen(ctx context.Context) error {
	var body struct {
		Operations []request `json:"operations"`
	}
	keys := make([]string, 0, len(b.open))
	for _, i := range b.open {
		body.Operations = append(body.Operations, b.requests[i])
		keys = append(keys, b.requests[i].IdempotencyKey)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("client: encode the batch: %w", err)
	}

	name := fmt.Sprintf("batch of %d operations", len(b.open))
	c := call{name: name, path: "/v1/batch", body: encoded, keys: keys, isBatch: true}
	a, err := b.ledger.sendUntil(ctx, c, b.end)
	if err != nil {
		return err
	}
	var answers batchAnswer
	err = decodeAnswer(a, name, &answers)
	if err != nil {
		return err
	}
	if len(answers.Results) != len(b.open) {
		return fmt.Errorf("client: %s: the answer must have as many results, got %d", name, len(answers.Results))
	}
	b.storeResults(answers.Results, a.afterLoss)
	return nil
}

// storeResults stores the results of the open operations, and opens those again that the core could
// not take.
func (b *batch) storeResults(results []BatchResult, afterLoss bool) {
	var again []int
	for n, i := range b.open {
		r := results[n]
		b.mayBeDone[i] = b.mayBeDone[i] || afterLoss
		if r.Status == http.StatusServiceUnavailable {
			again = append(again, i)
			b.mayBeDone[i] = b.mayBeDone[i] || !errors.Is(r.Problem, ErrOverloaded)
		}
		if r.Receipt != nil {
			r.Receipt.Replayed = r.Replayed
		} else {
			r.Problem.MayBeDone = b.mayBeDone[i]
		}
		b.results[i] = r
	}
	b.open = again
}

// batchAnswer is the answer of a batch.
type batchAnswer struct {
	Results []BatchResult `json:"results"`
}

// isComplete reports whether each result has a receipt or a problem.
func (a *batchAnswer) isComplete() bool {
	lacksOutcome := func(r BatchResult) bool {
		isDone := r.Status == http.StatusOK || r.Status == http.StatusCreated
		if isDone {
			return r.Receipt == nil
		}
		return r.Problem == nil || r.Receipt != nil
	}
	return len(a.Results) > 0 && !slices.ContainsFunc(a.Results, lacksOutcome)
}
