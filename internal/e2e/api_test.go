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

// object is JSON as the contract has it, read without our own types.
type object = map[string]any

// write is one operation as a client asks for it. Sent again, it is the same request.
type write struct {
	path, key string
	body      object
}

// answer is what came back for a write.
type answer struct {
	status   int
	code     string // of a problem
	replayed bool
	receipt  receipt
	at       time.Time
	took     time.Duration
}

type receipt struct {
	TransactionID string    `json:"transactionId"`
	EscrowID      string    `json:"escrowId"`
	Timestamp     string    `json:"timestamp"`
	Balances      []balance `json:"balances"`
}

type balance struct {
	AccountID        string `json:"accountId"`
	AvailableBalance int64  `json:"availableBalance"`
	EscrowBalance    int64  `json:"escrowBalance"`
	EarnedBalance    int64  `json:"earnedBalance"`
	Seq              int64  `json:"seq"`
}

func (a answer) done() bool { return a.status == http.StatusOK || a.status == http.StatusCreated }

// api calls one core.
type api struct {
	w       *world
	base    string
	token   string
	timeout time.Duration
}

func (w *world) api(s *server) *api {
	w.Helper()
	return &api{w: w, base: s.url(), timeout: patience, token: w.token("e2e", nil,
		auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead)}
}

func newKey() string { return uuid.NewString() }

func credit(account string, amount int64) write {
	return write{"/v1/accounts/" + account + "/credits", newKey(), object{"amount": amount, "reason": "promotional_award"}}
}

func hold(user string, amount int64) write {
	return write{"/v1/accounts/" + user + "/holds", newKey(),
		object{"amount": amount, "reason": "chip_menu_purchase", "queueItemId": "q1", "featureType": "chip_menu"}}
}

func settle(escrow, model string, amount int64) write {
	return write{"/v1/escrows/" + escrow + "/settle", newKey(),
		object{"modelId": model, "amount": amount, "reason": "performance_completed", "queueItemId": "q1"}}
}

func refund(escrow string, amount int64) write {
	return write{"/v1/escrows/" + escrow + "/refund", newKey(),
		object{"amount": amount, "reason": "performance_abandoned", "queueItemId": "q1"}}
}

func partial(escrow, model string, back, earned int64) write {
	return write{"/v1/escrows/" + escrow + "/partial-settle", newKey(),
		object{"modelId": model, "refundAmount": back, "settleAmount": earned, "reason": "partial_performance", "queueItemId": "q1"}}
}

// send returns an error when no answer came. It never sends twice by itself.
func (a *api) send(wr write) (answer, error) {
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
	req.GetBody = nil // else the client may repeat it: it has an idempotency key
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", wr.key)
	begin := time.Now()
	resp, err := a.w.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{
		status: resp.StatusCode, replayed: resp.Header.Get("Idempotent-Replayed") == "true",
		at: time.Now(), took: time.Since(begin),
	}
	if out.done() {
		return out, json.Unmarshal(got, &out.receipt)
	}
	var problem struct{ Code, Detail string }
	if err := json.Unmarshal(got, &problem); err != nil || problem.Code == "" {
		return out, fmt.Errorf("status %d with a body that is no problem: %.200s", out.status, got)
	}
	out.code = problem.Code
	return out, nil
}

// do is send for a write that must be done.
func (a *api) do(wr write) answer {
	a.w.Helper()
	got, err := a.send(wr)
	if err != nil || !got.done() {
		a.w.Fatalf("%s: status %d %s, %v", wr.path, got.status, got.code, err)
	}
	return got
}

// get decodes what a path answers, which must be 200.
func (a *api) get(path string, into any) {
	a.w.Helper()
	body := a.w.get(a.base+path, a.token, http.StatusOK)
	if err := json.Unmarshal(body, into); err != nil {
		a.w.Fatalf("GET %s: %v in %.200s", path, err, body)
	}
}

func (w *world) get(url, bearer string, status int) []byte {
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
	if err != nil || resp.StatusCode != status {
		w.Fatalf("GET %s: status %d, want %d: %.300s %v", url, resp.StatusCode, status, body, err)
	}
	return body
}

// event is one delivery as /events lists it.
type event struct {
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`
	Event   json.RawMessage `json:"event"`
}

// history is all of the account's events, as the ledger has them, and whether they are numbered 1, 2, 3 …
func (a *api) history(account string) []event {
	a.w.Helper()
	var all []event
	for {
		var page struct {
			Events []event `json:"events"`
			Last   int64   `json:"last"`
		}
		a.get("/v1/accounts/"+account+"/events?limit=1000&after="+strconv.Itoa(len(all)), &page)
		for _, e := range page.Events {
			if want := int64(len(all)) + 1; e.Seq != want || e.Account != account {
				a.w.Fatalf("history of %s: %s seq %d where %d belongs", account, e.Account, e.Seq, want)
			}
			all = append(all, e)
		}
		if int64(len(all)) >= page.Last {
			return all
		}
		if len(page.Events) == 0 {
			a.w.Fatalf("history of %s ends at %d, the newest is said to be %d", account, len(all), page.Last)
		}
	}
}

func (a *api) balance(account string) balance {
	a.w.Helper()
	var b balance
	a.get("/v1/accounts/"+account+"/balance", &b)
	return b
}

// together does n writes at once.
func (a *api) together(n int, make func() write) {
	a.w.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if got, err := a.send(make()); err != nil || !got.done() {
				a.w.Errorf("status %d %s, %v", got.status, got.code, err)
			}
		})
	}
	wg.Wait()
}

// signal is given once.
type signal struct {
	once sync.Once
	done chan struct{}
}

func newSignal() *signal { return &signal{done: make(chan struct{})} }

func (s *signal) give() { s.once.Do(func() { close(s.done) }) }

// metric reads one line of a server's metrics; 0 when it is not there.
func (w *world) metric(s *server, name string) float64 {
	w.Helper()
	for line := range strings.Lines(string(w.get("http://"+s.admin+"/metrics", "", http.StatusOK))) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				w.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	return 0
}
