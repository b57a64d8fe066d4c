package e2e

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/client"
)

// object is a JSON object of the wire contract, decoded without the types of the programs.
type object = map[string]any

// isRefused reports whether the core has refused an operation because of an outage or of overload.
func isRefused(err error) bool {
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrOverloaded)
}

// hasAnswer reports whether the core has answered. A refusal is an answer.
func hasAnswer(err error) bool {
	var problem *client.Problem
	return err == nil || errors.As(err, &problem)
}

// api calls one core. Each call is one attempt, so that a test sees every answer.
type api struct {
	*client.Ledger
	w *world
}

func (w *world) newAPI(s *server) *api {
	w.Helper()
	return w.newAPIWith(s, w.http)
}

func (w *world) newAPIWith(s *server, httpClient *http.Client) *api {
	w.Helper()
	token := w.signToken("e2e", nil, auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead)
	ledger, err := client.NewLedger(s.baseURL(), client.LedgerConfig{
		Token:          client.StaticToken(token),
		HTTPClient:     httpClient,
		AttemptTimeout: patience,
		RetryFor:       -1,
	})
	if err != nil {
		w.Fatal(err)
	}
	return &api{Ledger: ledger, w: w}
}

func newKey() string { return uuid.NewString() }

func newCredit(account string, amount int64) client.Credit {
	return client.Credit{
		Account:        account,
		Amount:         amount,
		Reason:         "promotional_award",
		IdempotencyKey: newKey(),
	}
}

func newDebit(account string, amount int64, reason string) client.Debit {
	return client.Debit{
		Account:        account,
		Amount:         amount,
		Reason:         reason,
		IdempotencyKey: newKey(),
	}
}

func newHold(user string, amount int64) client.Hold {
	return client.Hold{
		Account:        user,
		Amount:         amount,
		Reason:         "chip_menu_purchase",
		QueueItemID:    "q1",
		FeatureType:    "chip_menu",
		IdempotencyKey: newKey(),
	}
}

func newSettle(escrow, model string, amount int64) client.Settle {
	return client.Settle{
		EscrowID:       escrow,
		ModelID:        model,
		Amount:         amount,
		Reason:         "performance_completed",
		QueueItemID:    "q1",
		IdempotencyKey: newKey(),
	}
}

func newRefund(escrow string, amount int64) client.Refund {
	return client.Refund{
		EscrowID:       escrow,
		Amount:         amount,
		Reason:         "performance_abandoned",
		QueueItemID:    "q1",
		IdempotencyKey: newKey(),
	}
}

func newPartialSettle(escrow, model string, refunded, settled int64) client.PartialSettle {
	return client.PartialSettle{
		EscrowID:       escrow,
		ModelID:        model,
		RefundAmount:   refunded,
		SettleAmount:   settled,
		Reason:         "partial_performance",
		QueueItemID:    "q1",
		IdempotencyKey: newKey(),
	}
}

// sendOnce makes one attempt.
func (a *api) sendOnce(op client.Operation) (client.Receipt, error) {
	return a.Do(context.Background(), op) // workers also write after the end of the test's context
}

// mustDo makes one attempt and ends the test if the operation was not done.
func (a *api) mustDo(op client.Operation) client.Receipt {
	a.w.Helper()
	receipt, err := a.sendOnce(op)
	if err != nil {
		a.w.Fatal(err)
	}
	return receipt
}

// mustDoConcurrently does n operations at once.
func (a *api) mustDoConcurrently(n int, newOperation func() client.Operation) {
	a.w.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			_, err := a.sendOnce(newOperation())
			if err != nil {
				a.w.Error(err)
			}
		})
	}
	wg.Wait()
}

func (w *world) getBody(url, bearer string, wantStatus int) []byte {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := w.http.Do(req)
	if err != nil {
		w.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("GET %s: %v", url, err)
	}
	if resp.StatusCode != wantStatus {
		w.Fatalf("GET %s: got status %d, want %d: %.300s", url, resp.StatusCode, wantStatus, body)
	}
	return body
}

// newCredits returns a credit of each account.
func newCredits(amount int64, accounts []string) []client.Operation {
	operations := make([]client.Operation, len(accounts))
	for i, account := range accounts {
		operations[i] = newCredit(account, amount)
	}
	return operations
}

// sendBatch makes one attempt. It returns an error unless all operations were done.
func (a *api) sendBatch(operations []client.Operation) error {
	results, err := a.Batch(context.Background(), operations)
	for i := range results {
		err = cmp.Or(err, results[i].Err())
	}
	return err
}

// readHistory returns all events of the account from the ledger. Their seqs are 1, 2, 3 …
func (a *api) readHistory(account string) []client.LedgerEvent {
	a.w.Helper()
	var all []client.LedgerEvent
	for e, err := range a.Events(context.Background(), account, 0) {
		if err != nil {
			a.w.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func (a *api) readBalance(account string) client.Balance {
	a.w.Helper()
	b, err := a.Balance(context.Background(), account)
	if err != nil {
		a.w.Fatal(err)
	}
	return b
}

func isModel(account string) bool { return strings.HasPrefix(account, "model:") }

// bareID returns the account's id without its type, as events and balances have it.
func bareID(account string) string {
	_, id, _ := strings.Cut(account, ":")
	return id
}
