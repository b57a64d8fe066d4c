package client_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/pkg/client"
)

func credit(account string, amount int64) client.Credit {
	return client.Credit{Account: account, Amount: amount, Reason: "promotional_award"}
}

func hold(user string, amount int64) client.Hold {
	return client.Hold{
		Account:     user,
		Amount:      amount,
		Reason:      "chip_menu_purchase",
		QueueItemID: "queue-1",
		FeatureType: "chip_menu",
	}
}

func settle(escrowID, model string, amount int64) client.Settle {
	return client.Settle{EscrowID: escrowID, ModelID: model, Amount: amount, Reason: "performance_completed", QueueItemID: "queue-1"}
}

func TestLedgerOperations(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	ledger := newLedger(t, c.url, client.LedgerConfig{})
	ctx := t.Context()
	must := func(r client.Receipt, err error) client.Receipt {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	must(ledger.Credit(ctx, client.Credit{
		Account:       "user:u1",
		Amount:        1000,
		Reason:        "promotional_award",
		CorrelationID: "order-1",
		Metadata:      map[string]any{"campaign": "spring"},
	}))
	first := hold("user:u1", 100)
	first.ExpiresIn = 1500 * time.Millisecond * 3600
	held := must(ledger.Hold(ctx, first))
	checkEqual(t, "operation", held.Operation, client.OperationHold)
	checkEqual(t, "replayed", held.Replayed, false)
	if len(held.Balances) != 1 {
		t.Fatalf("balances of the hold: got %d, want 1", len(held.Balances))
	}
	checkEqual(t, "escrow after the hold", held.Balances[0].Escrow, 100)
	settled := must(ledger.Settle(ctx, settle(held.EscrowID, "m1", 100)))
	second := must(ledger.Hold(ctx, hold("user:u1", 50)))
	must(ledger.Refund(ctx, client.Refund{EscrowID: second.EscrowID, Amount: 50, Reason: "performance_abandoned", QueueItemID: "q"}))
	third := must(ledger.Hold(ctx, hold("user:u1", 30)))
	must(ledger.PartialSettle(ctx, client.PartialSettle{
		EscrowID: third.EscrowID, ModelID: "model:m1", RefundAmount: 10, SettleAmount: 20,
		Reason: "partial_performance", QueueItemID: "q",
	}))
	must(ledger.Debit(ctx, client.Debit{Account: "model:m1", Amount: 5, Reason: "payout"}))

	c.checkBalance("user:u1", client.Balance{Available: 880, Seq: 1 + 3 + 2 + 3 + 3 + 3 + 3})
	c.checkBalance("model:m1", client.Balance{Earned: 115, Seq: 2 + 2 + 1})

	escrow, err := ledger.Escrow(ctx, held.EscrowID)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "status", escrow.Status, client.StatusSettled)
	checkEqual(t, "model", escrow.ModelID, "m1")
	checkEqual(t, "life of the escrow", escrow.ExpiresAt.Sub(escrow.CreatedAt), 5400*time.Second)
	transaction, err := ledger.Transaction(ctx, settled.TransactionID)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "entries of the settlement", len(transaction.Entries), 2)
	past, err := ledger.BalanceAt(ctx, "user:u1", time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "balance an hour ago", past.Available, 0)

	entries := 0
	for e, err := range ledger.Entries(ctx, "user:u1", client.EntriesFilter{Reason: "promotional_award", From: time.Now().Add(-time.Hour)}) {
		if err != nil {
			t.Fatal(err)
		}
		entries++
		checkEqual(t, "correlation id", e.CorrelationID, "order-1")
		checkEqual(t, "metadata", string(e.Metadata), `{"campaign":"spring"}`)
	}
	checkEqual(t, "entries with the reason", entries, 1)
	for e, err := range ledger.Escrows(ctx, "user:u1", client.EscrowsFilter{Status: client.StatusRefunded}) {
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "refunded escrow", e.EscrowID, second.EscrowID)
	}
	for e, err := range ledger.Events(ctx, "user:u1", 1) {
		if err != nil {
			t.Fatal(err)
		}
		event, ok := e.Event.(*client.EscrowHeld)
		if !ok {
			t.Fatalf("event after the credit: got %T, want *client.EscrowHeld", e.Event)
		}
		checkEqual(t, "seq of the hold", e.Seq, 2)
		checkEqual(t, "escrow of the event", event.EscrowID, held.EscrowID)
		break
	}
}

func TestLedgerReadsAllPages(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	ledger := newLedger(t, c.url, client.LedgerConfig{})
	const batches = 2
	for range batches {
		operations := make([]client.Operation, 600)
		for i := range operations {
			operations[i] = credit("user:u1", 1)
		}
		results, err := ledger.Batch(t.Context(), operations)
		if err != nil {
			t.Fatal(err)
		}
		for i := range results {
			if results[i].Err() != nil {
				t.Fatal(results[i].Err())
			}
		}
	}

	entries := ledger.Entries(t.Context(), "user:u1", client.EntriesFilter{})
	for range 2 { // a sequence may be used again
		seq := int64(batches * 600)
		for e, err := range entries {
			if err != nil {
				t.Fatal(err)
			}
			checkEqual(t, "seq of the entry", e.Seq, seq)
			seq--
		}
		checkEqual(t, "entries left", seq, 0)
	}
	seq := int64(0)
	for e, err := range ledger.Events(t.Context(), "user:u1", 0) {
		if err != nil {
			t.Fatal(err)
		}
		seq++
		checkEqual(t, "seq of the event", e.Seq, seq)
	}
	checkEqual(t, "events", seq, batches*600)
	for _, err := range ledger.Entries(t.Context(), "user:unknown", client.EntriesFilter{}) {
		checkIs(t, err, client.ErrAccountNotFound)
	}
}

func TestLedgerBatchHasOneResultForEachOperation(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	ledger := newLedger(t, c.url, client.LedgerConfig{})
	first := credit("user:u1", 10)
	first.IdempotencyKey = "bonus-1"
	operations := []client.Operation{first, client.Debit{Account: "user:u1", Amount: 99, Reason: "payout"}, hold("user:u1", 5)}
	results, err := ledger.Batch(t.Context(), operations)
	if err != nil {
		t.Fatal(err)
	}
	checkIs(t, results[0].Err(), nil)
	checkIs(t, results[1].Err(), client.ErrInsufficientFunds)
	checkIs(t, results[2].Err(), nil)
	if results[2].Receipt.EscrowID == "" {
		t.Error("the receipt of the hold has no escrow id")
	}

	results, err = ledger.Batch(t.Context(), operations[:1])
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "replayed", results[0].Receipt.Replayed, true)
	_, err = ledger.Batch(t.Context(), nil)
	checkContains(t, err, "1 to 1000 operations")
}

func TestLedgerProblems(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	ledger := newLedger(t, c.url, client.LedgerConfig{})
	ctx := t.Context()
	_, err := ledger.Credit(ctx, credit("user:u1", 40))
	if err != nil {
		t.Fatal(err)
	}
	held, err := ledger.Hold(ctx, hold("user:u1", 10))
	if err != nil {
		t.Fatal(err)
	}
	keyed := credit("user:u1", 1)
	keyed.IdempotencyKey = "key-1"
	_, err = ledger.Credit(ctx, keyed)
	if err != nil {
		t.Fatal(err)
	}
	keyed.Amount = 2
	const unknownID = "00000000-0000-4000-8000-000000000000"

	for name, test := range map[string]struct {
		code client.ErrorCode
		call func() error
		has  func(p *client.Problem) bool
	}{
		"insufficient funds": {
			client.ErrInsufficientFunds,
			func() error { _, err := ledger.Hold(ctx, hold("user:u1", 100)); return err },
			func(p *client.Problem) bool {
				return p.Status == 402 && p.Account == "user:u1" && p.AvailableBalance == 31 && p.RequestedAmount == 100
			},
		},
		"invalid amount": {
			client.ErrInvalidRequest,
			func() error { _, err := ledger.Credit(ctx, credit("user:u1", 0)); return err },
			func(p *client.Problem) bool { return len(p.Errors) == 1 && p.Errors[0].Pointer == "/amount" },
		},
		"reused key": {
			client.ErrIdempotencyKeyReused,
			func() error { _, err := ledger.Credit(ctx, keyed); return err },
			nil,
		},
		"other amount": {
			client.ErrAmountMismatch,
			func() error { _, err := ledger.Settle(ctx, settle(held.EscrowID, "m1", 9)); return err },
			func(p *client.Problem) bool { return p.EscrowAmount == 10 && p.RequestedAmount == 9 },
		},
		"unknown account": {
			client.ErrAccountNotFound,
			func() error { _, err := ledger.Balance(ctx, "user:unknown"); return err },
			nil,
		},
		"unknown escrow": {
			client.ErrEscrowNotFound,
			func() error { _, err := ledger.Escrow(ctx, unknownID); return err },
			nil,
		},
		"unknown transaction": {
			client.ErrTransactionNotFound,
			func() error { _, err := ledger.Transaction(ctx, unknownID); return err },
			nil,
		},
		"large metadata": {
			client.ErrRequestTooLarge,
			func() error {
				op := credit("user:u1", 1)
				op.Metadata = map[string]string{"text": strings.Repeat("x", 9<<10)}
				_, err := ledger.Credit(ctx, op)
				return err
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.call()
			checkIs(t, err, test.code)
			var problem *client.Problem
			if !errors.As(err, &problem) {
				t.Fatalf("got %v, want a *client.Problem", err)
			}
			if test.has != nil && !test.has(problem) {
				t.Errorf("members of the problem: got %+v", problem)
			}
		})
	}

	_, err = ledger.Settle(ctx, settle(held.EscrowID, "m1", 10))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ledger.Refund(ctx, client.Refund{EscrowID: held.EscrowID, Amount: 10, Reason: "performance_abandoned", QueueItemID: "q"})
	checkIs(t, err, client.ErrEscrowAlreadyProcessed)
	checkContains(t, err, "refund of escrow "+held.EscrowID)
}

func TestLedgerRefusesWrongTokens(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	other, err := auth.Sign([]byte(coretest.Secret), auth.Request{Subject: "user:u1", Accounts: []string{"user:u1"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"invalid token":         {"a.b.c", client.ErrUnauthorized},
		"token without a scope": {other, client.ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := newLedger(t, c.url, client.LedgerConfig{Token: client.StaticToken(test.token)})
			_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
			checkIs(t, err, test.want)
		})
	}
	for _, token := range []string{"", "a.b.c\n"} {
		ledger := newLedger(t, c.url, client.LedgerConfig{Token: client.StaticToken(token)})
		_, err = ledger.Credit(t.Context(), credit("user:u1", 1))
		checkContains(t, err, "LedgerConfig.Token must return a token")
		checkContains(t, err, "after 1 attempt:")
	}
}

// What no retry can mend ends a call at once.
func TestLedgerTeachesAboutTLS(t *testing.T) {
	t.Parallel()
	quiet := log.New(io.Discard, "", 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	defer secure.Close()
	for name, url := range map[string]string{
		"HTTPS to an HTTP server":  "https" + strings.TrimPrefix(plain.URL, "http"),
		"an untrusted certificate": secure.URL,
	} {
		t.Run(name, func(t *testing.T) {
			ledger := newLedger(t, url, client.LedgerConfig{Token: client.StaticToken("x")})
			_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
			var missing *client.NoAnswerError
			if !errors.As(err, &missing) {
				t.Fatalf("error: got %v, want a *client.NoAnswerError", err)
			}
			checkEqual(t, "attempts", missing.Attempts, 1)
			checkEqual(t, "may be done", missing.MayBeDone, false)
			checkContains(t, err, url)
		})
	}
}

func TestNewLedgerTeaches(t *testing.T) {
	token := client.StaticToken("x")
	for url, want := range map[string]string{
		"":                       "must be like http://host:8080",
		"core:8080":              "must be like http://host:8080",
		"ftp://core":             "must begin with http:// or https://",
		"ws://gateway:8081":      "a ws:// URL is that of a gateway",
		"http://core?token=x":    "LedgerConfig.Token gives the token",
		"http://user:pass@core/": "LedgerConfig.Token gives the token",
	} {
		t.Run(url, func(t *testing.T) {
			_, err := client.NewLedger(url, client.LedgerConfig{Token: token})
			checkContains(t, err, want)
		})
	}
	_, err := client.NewLedger("http://core:8080", client.LedgerConfig{})
	checkContains(t, err, "client.StaticToken")
}

// A server that is no core gets no retries, and the error names the URL.
func TestLedgerTeachesAboutOtherServers(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"other JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"ok":true}`))
		},
		"not found": http.NotFound,
		"a gateway": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]any{"code": "not_found", "status": 404, "detail": "no such path"})
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/other" {
				t.Error("the redirect was followed")
			}
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			ledger := newLedger(t, server.URL, client.LedgerConfig{Token: client.StaticToken("x")})
			_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
			checkContains(t, err, "check")
			_, err = ledger.Balance(t.Context(), "user:u1")
			checkContains(t, err, "check")
			results, err := ledger.Batch(t.Context(), []client.Operation{credit("user:u1", 1)})
			checkContains(t, err, "check")
			if err == nil {
				t.Errorf("results: got %v", results)
			}
			for _, err := range ledger.Events(t.Context(), "user:u1", 0) {
				checkContains(t, err, "check")
			}
		})
	}
}

func TestLedgerRefusesIncompleteOperations(t *testing.T) {
	ledger := newLedger(t, "http://127.0.0.1:1", client.LedgerConfig{})
	_, err := ledger.Credit(t.Context(), client.Credit{Amount: 1})
	checkContains(t, err, "the Account of a credit must be set")
	_, err = ledger.Settle(t.Context(), client.Settle{Amount: 1})
	checkContains(t, err, "the EscrowID of a settle must be set")
	_, err = ledger.Credit(t.Context(), client.Credit{Account: "user:u1", Metadata: "text"})
	checkContains(t, err, "Metadata must give a JSON object")
	_, err = ledger.Credit(t.Context(), client.Credit{Account: "user:u1", IdempotencyKey: "two words"})
	checkContains(t, err, "IdempotencyKey must have")
}

func checkIs(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error: got %v, want %v", err, want)
	}
}

func checkContains(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error: got %v, want one with %q", err, want)
	}
}
