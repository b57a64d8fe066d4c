package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
)

// object is a JSON object of the wire contract, decoded without the types of the programs.
type object = map[string]any

// write is the request for one operation. A retry sends the same one.
type write struct {
	path string
	key  string
	body object
}

// answer is the response to a write.
type answer struct {
	status   int
	code     string // of a problem
	replayed bool
	receipt  receipt
	at       time.Time
	duration time.Duration
}

type receipt struct {
	TransactionID string    `json:"transactionId"`
	EscrowID      string    `json:"escrowId"`
	Timestamp     string    `json:"timestamp"`
	Balances      []balance `json:"balances"`
}

type balance struct {
	Account          string `json:"account"`
	AvailableBalance int64  `json:"availableBalance"`
	EscrowBalance    int64  `json:"escrowBalance"`
	EarnedBalance    int64  `json:"earnedBalance"`
	Seq              int64  `json:"seq"`
	Chain            string `json:"chain"`
}

func (a answer) isDone() bool {
	return a.status == http.StatusOK || a.status == http.StatusCreated
}

// isRefused reports whether the core has refused the write because of an outage or of overload.
func (a answer) isRefused() bool {
	return a.status == http.StatusServiceUnavailable && (a.code == "unavailable" || a.code == "overloaded")
}

// api calls one core.
type api struct {
	w       *world
	base    string
	token   string
	timeout time.Duration
}

func (w *world) newAPI(s *server) *api {
	w.Helper()
	token := w.signToken("e2e", nil, auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead)
	return &api{w: w, base: s.baseURL(), token: token, timeout: patience}
}

func newKey() string { return uuid.NewString() }

func newWrite(path string, body object) write {
	return write{path: path, key: newKey(), body: body}
}

func newCredit(account string, amount int64) write {
	return newWrite("/v1/accounts/"+account+"/credits", object{
		"amount": amount,
		"reason": "promotional_award",
	})
}

func newDebit(account string, amount int64, reason string) write {
	return newWrite("/v1/accounts/"+account+"/debits", object{
		"amount": amount,
		"reason": reason,
	})
}

func newHold(user string, amount int64) write {
	return newWrite("/v1/accounts/"+user+"/holds", object{
		"amount":      amount,
		"reason":      "chip_menu_purchase",
		"queueItemId": "q1",
		"featureType": "chip_menu",
	})
}

func newSettle(escrow, model string, amount int64) write {
	return newWrite("/v1/escrows/"+escrow+"/settle", object{
		"modelId":     model,
		"amount":      amount,
		"reason":      "performance_completed",
		"queueItemId": "q1",
	})
}

func newRefund(escrow string, amount int64) write {
	return newWrite("/v1/escrows/"+escrow+"/refund", object{
		"amount":      amount,
		"reason":      "performance_abandoned",
		"queueItemId": "q1",
	})
}

func newPartialSettle(escrow, model string, refunded, settled int64) write {
	return newWrite("/v1/escrows/"+escrow+"/partial-settle", object{
		"modelId":      model,
		"refundAmount": refunded,
		"settleAmount": settled,
		"reason":       "partial_performance",
		"queueItemId":  "q1",
	})
}

// sendWrite sends the write once. It returns an error if no complete answer arrived.
func (a *api) sendWrite(wr write) (answer, error) {
	body, err := json.Marshal(wr.body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+wr.path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil // otherwise the HTTP client may retry, because of the Idempotency-Key
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", wr.key)
	start := time.Now()
	resp, err := a.w.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	received, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{
		status:   resp.StatusCode,
		replayed: resp.Header.Get("Idempotent-Replayed") == "true",
		at:       time.Now(),
		duration: time.Since(start),
	}
	err = got.decodeBody(received)
	return got, err
}

// decodeBody decodes a receipt or a problem.
func (a *answer) decodeBody(body []byte) error {
	if a.isDone() {
		return json.Unmarshal(body, &a.receipt)
	}
	var problem struct {
		Code   string
		Detail string
	}
	err := json.Unmarshal(body, &problem)
	if err != nil || problem.Code == "" {
		return fmt.Errorf("status %d: the body must be a problem: %.200s", a.status, body)
	}
	a.code = problem.Code
	return nil
}

// mustDo sends the write and ends the test if it was not done.
func (a *api) mustDo(wr write) answer {
	a.w.Helper()
	got, err := a.sendWrite(wr)
	if err != nil {
		a.w.Fatalf("POST %s: %v", wr.path, err)
	}
	if !got.isDone() {
		a.w.Fatalf("POST %s: got status %d %s, want 200 or 201", wr.path, got.status, got.code)
	}
	return got
}

// mustDoConcurrently sends n writes at once. Each of them must be done.
func (a *api) mustDoConcurrently(n int, newWrite func() write) {
	a.w.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			got, err := a.sendWrite(newWrite())
			if err != nil {
				a.w.Errorf("write: %v", err)
			} else if !got.isDone() {
				a.w.Errorf("write: got status %d %s, want 200 or 201", got.status, got.code)
			}
		})
	}
	wg.Wait()
}

// getJSON decodes the response to a GET, whose status must be 200.
func (a *api) getJSON(path string, into any) {
	a.w.Helper()
	body := a.w.getBody(a.base+path, a.token, http.StatusOK)
	err := json.Unmarshal(body, into)
	if err != nil {
		a.w.Fatalf("GET %s: %v in %.200s", path, err, body)
	}
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

// accountEvent is one delivery as /events lists it.
type accountEvent struct {
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`
	Chain   string          `json:"chain"`
	Event   json.RawMessage `json:"event"`
}

// readHistory returns all events of the account from the ledger. Their seqs must be 1, 2, 3 …
func (a *api) readHistory(account string) []accountEvent {
	a.w.Helper()
	var all []accountEvent
	for {
		var page struct {
			Events []accountEvent `json:"events"`
			Last   int64          `json:"last"`
		}
		a.getJSON("/v1/accounts/"+account+"/events?limit=1000&after="+strconv.Itoa(len(all)), &page)
		for _, e := range page.Events {
			if want := int64(len(all)) + 1; e.Seq != want || e.Account != account {
				a.w.Fatalf("history of %s: got seq %d of %s, want seq %d", account, e.Seq, e.Account, want)
			}
			all = append(all, e)
		}
		if int64(len(all)) >= page.Last {
			return all
		}
		if len(page.Events) == 0 {
			a.w.Fatalf("history of %s: got events up to seq %d, want them up to %d", account, len(all), page.Last)
		}
	}
}

func (a *api) readBalance(account string) balance {
	a.w.Helper()
	var b balance
	a.getJSON("/v1/accounts/"+account+"/balance", &b)
	return b
}

func isModel(account string) bool { return strings.HasPrefix(account, "model:") }

// bareID returns the account's id without its type, as events and balances have it.
func bareID(account string) string {
	_, id, _ := strings.Cut(account, ":")
	return id
}
