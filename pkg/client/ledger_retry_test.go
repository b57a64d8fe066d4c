package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/pkg/client"
)

// outcome is the result of a call that runs in the background.
type outcome struct {
	receipt client.Receipt
	err     error
}

func creditInBackground(ctx context.Context, ledger *client.Ledger, op client.Credit) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		receipt, err := ledger.Credit(ctx, op)
		done <- outcome{receipt, err}
	}()
	return done
}

func (c *core) hasBalance(account string, available int64) func() bool {
	direct := newLedger(c, c.url, client.LedgerConfig{})
	return func() bool {
		b, err := direct.Balance(c.Context(), account)
		return err == nil && b.Available == available
	}
}

func TestLedgerRepeatsAfterLostAnswer(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	proxy, url := c.startProxy()
	ledger := newLedger(t, url, client.LedgerConfig{})
	proxy.PauseReplies()
	done := creditInBackground(t.Context(), ledger, credit("user:u1", 7))
	c.waitUntil("the credit is done", c.hasBalance("user:u1", 7))
	proxy.Cut()
	proxy.Resume()

	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	checkEqual(t, "replayed", got.receipt.Replayed, true)
	c.checkBalance("user:u1", client.Balance{Available: 7, Seq: 1})
}

func TestLedgerRepeatsBatchAfterLostAnswer(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	proxy, url := c.startProxy()
	ledger := newLedger(t, url, client.LedgerConfig{})
	proxy.PauseReplies()
	done := make(chan error, 1)
	var results []client.BatchResult
	go func() {
		var err error
		results, err = ledger.Batch(t.Context(), []client.Operation{
			credit("user:u1", 7),
			client.Debit{Account: "user:u1", Amount: 8, Reason: "payout"},
		})
		done <- err
	}()
	c.waitUntil("the credit is done", c.hasBalance("user:u1", 7))
	proxy.Cut()
	proxy.Resume()

	err := <-done
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "the credit is replayed", results[0].Receipt.Replayed, true)
	checkIs(t, results[1].Err(), client.ErrInsufficientFunds)
	checkEqual(t, "the debit may be done", results[1].Problem.MayBeDone, true)
	c.checkBalance("user:u1", client.Balance{Available: 7, Seq: 1})
}

// A connection that fell silent does not end the call, but only the attempt.
func TestLedgerRepeatsAfterSilence(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	proxy, url := c.startProxy()
	ledger := newLedger(t, url, client.LedgerConfig{AttemptTimeout: time.Second})
	_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
	if err != nil {
		t.Fatal(err)
	}
	proxy.SilenceLinks()
	_, err = ledger.Credit(t.Context(), credit("user:u1", 2))
	if err != nil {
		t.Fatal(err)
	}
	c.checkBalance("user:u1", client.Balance{Available: 3, Seq: 2})
}

func TestLedgerWaitsForCore(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	proxy, url := c.startProxy()
	proxy.Refuse(true)
	var attempts atomic.Int64
	token := coretest.ServiceToken(t)
	ledger := newLedger(t, url, client.LedgerConfig{Token: func(context.Context) (string, error) {
		attempts.Add(1)
		return token, nil
	}})
	done := creditInBackground(t.Context(), ledger, credit("user:u1", 1))
	c.waitUntil("two attempts have failed", func() bool { return attempts.Load() > 2 })
	proxy.Refuse(false)
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	c.checkBalance("user:u1", client.Balance{Available: 1, Seq: 1})
}

// The error of a call whose answer is missing has the key, with which the caller learns the result.
func TestNoAnswerErrorHasKey(t *testing.T) {
	t.Parallel()
	c := startCore(t)
	proxy, url := c.startProxy()
	ledger := newLedger(t, url, client.LedgerConfig{})
	proxy.PauseReplies()
	ctx, cancel := context.WithCancel(t.Context())
	op := credit("user:u1", 7)
	done := creditInBackground(ctx, ledger, op)
	c.waitUntil("the credit is done", c.hasBalance("user:u1", 7))
	cancel()

	got := <-done
	var missing *client.NoAnswerError
	if !errors.As(got.err, &missing) {
		t.Fatalf("error: got %v, want a *client.NoAnswerError", got.err)
	}
	checkIs(t, got.err, context.Canceled)
	checkEqual(t, "may be done", missing.MayBeDone, true)
	checkContains(t, got.err, missing.IdempotencyKeys[0])
	proxy.Cut()
	proxy.Resume()
	op.IdempotencyKey = missing.IdempotencyKeys[0]
	receipt, err := ledger.Credit(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "replayed", receipt.Replayed, true)
	c.checkBalance("user:u1", client.Balance{Available: 7, Seq: 1})
}

func TestNothingIsDoneWithoutConnection(t *testing.T) {
	t.Parallel()
	ledger := newLedger(t, "http://127.0.0.1:1", client.LedgerConfig{RetryFor: -1}) // nothing listens there
	_, err := ledger.Credit(t.Context(), credit("user:u1", 7))
	var missing *client.NoAnswerError
	if !errors.As(err, &missing) {
		t.Fatalf("error: got %v, want a *client.NoAnswerError", err)
	}
	checkEqual(t, "may be done", missing.MayBeDone, false)
	checkEqual(t, "attempts", missing.Attempts, 1)
}

// script is a transport that gives scripted answers, for tests of time.
type script struct {
	answers []scripted // the last one is repeated
	times   []time.Time
	keys    map[string]bool
}

type scripted struct {
	status     int // 0: the connection is cut
	retryAfter string
	body       string
}

var errCut = errors.New("the connection was cut")

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.times = append(s.times, time.Now())
	s.keys[r.Header.Get("Idempotency-Key")] = true
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	a := s.answers[min(len(s.times), len(s.answers))-1]
	if a.status == 0 {
		return nil, errCut
	}
	header := http.Header{"Content-Type": {"application/problem+json"}}
	if a.retryAfter != "" {
		header.Set("Retry-After", a.retryAfter)
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

const receiptBody = `{"transactionId":"t1","operation":"credit","amount":1,"timestamp":"2026-11-23T19:02:58.123Z","balances":[]}`

// inFakeTime runs the test with a ledger whose answers are scripted. Time is fake in it.
func inFakeTime(t *testing.T, cfg client.LedgerConfig, answers []scripted, test func(t *testing.T, ledger *client.Ledger, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: answers, keys: map[string]bool{}}
		cfg.Token = client.StaticToken("x")
		cfg.HTTPClient = &http.Client{Transport: s}
		ledger, err := client.NewLedger("http://core", cfg)
		if err != nil {
			t.Fatal(err)
		}
		test(t, ledger, s)
	})
}

func TestLedgerHonoursRetryAfter(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		answers := []scripted{{status: status, retryAfter: "7", body: `{"code":"overloaded"}`}, {status: http.StatusCreated, body: receiptBody}}
		inFakeTime(t, client.LedgerConfig{}, answers, func(t *testing.T, ledger *client.Ledger, s *script) {
			_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
			if err != nil {
				t.Fatal(err)
			}
			checkEqual(t, "attempts", len(s.times), 2)
			checkEqual(t, "keys", len(s.keys), 1)
			if pause := s.times[1].Sub(s.times[0]); pause < 7*time.Second {
				t.Errorf("pause before the retry: got %s, want at least 7 s", pause)
			}
		})
	}
}

func TestLedgerRetriesForBoundedTime(t *testing.T) {
	inFakeTime(t, client.LedgerConfig{RetryFor: 20 * time.Second}, []scripted{{}}, func(t *testing.T, ledger *client.Ledger, s *script) {
		start := time.Now()
		_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
		checkIs(t, err, errCut)
		checkEqual(t, "keys", len(s.keys), 1)
		took := time.Since(start)
		if took < 10*time.Second || took > 20*time.Second {
			t.Errorf("time: got %s, want 10 to 20 s", took)
		}
		if n := len(s.times); n < 5 || n > 40 {
			t.Errorf("attempts: got %d, want 5 to 40", n)
		}
	})
}

func TestLedgerStopsWithContext(t *testing.T) {
	answers := []scripted{{status: http.StatusServiceUnavailable, retryAfter: "9", body: `{"code":"unavailable"}`}}
	inFakeTime(t, client.LedgerConfig{}, answers, func(t *testing.T, ledger *client.Ledger, _ *script) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := ledger.Credit(ctx, credit("user:u1", 1))
		checkIs(t, err, context.DeadlineExceeded)
		checkIs(t, err, client.ErrUnavailable)
	})
}

// Only answers after which a retry can help are repeated.
func TestLedgerRepeatsNoOtherAnswers(t *testing.T) {
	for _, status := range []int{200, 301, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 500, 501} {
		answers := []scripted{{status: status, body: `{"code":"some_code"}`}}
		inFakeTime(t, client.LedgerConfig{}, answers, func(t *testing.T, ledger *client.Ledger, s *script) {
			_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
			if err == nil {
				t.Errorf("status %d: got no error", status)
			}
			checkEqual(t, "attempts", len(s.times), 1)
		})
	}
}

// A refusal after a lost attempt says that the attempt may still be on its way.
func TestProblemAfterLostAttempt(t *testing.T) {
	for name, test := range map[string]struct {
		first scripted
		want  bool
	}{
		"cut":         {scripted{}, true},
		"unavailable": {scripted{status: 503, body: `{"code":"unavailable"}`}, true},
		"bad gateway": {scripted{status: 502}, true},
		"overloaded":  {scripted{status: 503, body: `{"code":"overloaded"}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			answers := []scripted{test.first, {status: 402, body: `{"code":"insufficient_funds"}`}}
			inFakeTime(t, client.LedgerConfig{}, answers, func(t *testing.T, ledger *client.Ledger, _ *script) {
				_, err := ledger.Credit(t.Context(), credit("user:u1", 1))
				var problem *client.Problem
				if !errors.As(err, &problem) {
					t.Fatalf("error: got %v, want a *client.Problem", err)
				}
				checkEqual(t, "may be done", problem.MayBeDone, test.want)
			})
		})
	}
}

// The operations of a batch that the core could not take are sent again on their own.
func TestBatchRepeatsOverloadedOperations(t *testing.T) {
	const done = `{"status":201,"receipt":` + receiptBody + `}`
	const overloaded = `{"status":503,"problem":{"code":"overloaded","retryAfterSeconds":3}}`
	answers := []scripted{
		{status: 200, body: `{"results":[` + done + `,` + overloaded + `,` + done + `]}`},
		{}, // cut
		{status: 200, body: `{"results":[` + overloaded + `]}`},
		{status: 200, body: `{"results":[` + done + `]}`},
	}
	operations := []client.Operation{credit("user:u1", 1), credit("user:u2", 1), credit("user:u3", 1)}
	inFakeTime(t, client.LedgerConfig{}, answers, func(t *testing.T, ledger *client.Ledger, s *script) {
		results, err := ledger.Batch(t.Context(), operations)
		if err != nil {
			t.Fatal(err)
		}
		for i := range results {
			checkIs(t, results[i].Err(), nil)
		}
		checkEqual(t, "attempts", len(s.times), 4)
		if pause := s.times[1].Sub(s.times[0]); pause < 3*time.Second {
			t.Errorf("pause before the retry: got %s, want at least 3 s", pause)
		}
	})
	// If no answer follows, the results say which operations are undecided.
	inFakeTime(t, client.LedgerConfig{}, answers[:2], func(t *testing.T, ledger *client.Ledger, _ *script) {
		results, err := ledger.Batch(t.Context(), operations)
		var missing *client.NoAnswerError
		if !errors.As(err, &missing) {
			t.Fatalf("error: got %v, want a *client.NoAnswerError", err)
		}
		checkEqual(t, "keys without an answer", len(missing.IdempotencyKeys), 1)
		checkEqual(t, "status of the undecided operation", results[1].Status, 0)
		if results[1].Err() == nil || results[0].Err() != nil {
			t.Errorf("errors: got %v, %v, want nil, an error", results[0].Err(), results[1].Err())
		}
	})
}

// A history with a hole is an error and not a shorter history.
func TestLedgerEventsHaveNoHoles(t *testing.T) {
	const event = `"chain":"9f3ab2c1d4e5f607","event":{"eventType":"wallet.escrow_held"}}`
	for name, body := range map[string]string{
		"no events":     `{"events":[],"last":5}`,
		"a hole":        `{"events":[{"account":"user:u1","seq":3,` + event + `],"last":5}`,
		"other account": `{"events":[{"account":"user:u2","seq":2,` + event + `],"last":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, client.LedgerConfig{}, []scripted{{status: 200, body: body}}, func(t *testing.T, ledger *client.Ledger, _ *script) {
				items := 0
				for _, err := range ledger.Events(t.Context(), "user:u1", 1) {
					items++
					checkContains(t, err, "must follow")
				}
				checkEqual(t, "items", items, 1)
			})
		})
	}
}
