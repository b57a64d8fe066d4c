package coreapi_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestOverload blocks commits with a lock. Requests beyond the capacity of the queue are refused with
// 503, and the ledger does not commit them. The accepted requests are committed when the lock ends.
func TestOverload(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	l := wallettest.Open(t, url, wallet.Config{MaxQueue: 8, MaxBatch: 4, Logger: slog.New(slog.DiscardHandler)})
	h := serveAPI(t, l, l)
	h.credit("user:u1", 1000)
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `SELECT 1 FROM wallets WHERE account = 'user:u1' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}

	const (
		requests = 100
		capacity = 8 + 8*4 // the queue and the running batches
	)
	type reply struct {
		i int
		answer
	}
	replies := make(chan reply, requests)
	key := func(i int) string { return fmt.Sprint("overload-", i) }
	hold := func(i int) answer {
		return h.send(request{path: "/v1/accounts/user:u1/holds", body: holdBody(1), key: key(i)})
	}
	var clients sync.WaitGroup
	defer clients.Wait()
	defer func() { _ = tx.Rollback() }() // so that the clients end if the test fails
	for i := range requests {
		clients.Go(func() {
			r := reply{i: i}
			defer func() { replies <- r }() // also if the request fails the test
			r.answer = hold(i)
		})
	}
	var refused []int
	for len(refused) < requests-capacity {
		r := <-replies
		if r.status != http.StatusServiceUnavailable || r.json["code"] != "overloaded" {
			t.Fatalf("blocked commits: got %d %s, want 503 overloaded", r.status, r.raw)
		}
		if r.header.Get("Retry-After") == "" {
			t.Error("got 503 without Retry-After")
		}
		refused = append(refused, r.i)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for range requests - len(refused) {
		switch r := <-replies; r.status {
		case http.StatusCreated:
			accepted++
		case http.StatusServiceUnavailable:
			refused = append(refused, r.i)
		default:
			t.Errorf("got %d %s, want 201 or 503", r.status, r.raw)
		}
	}
	if accepted == 0 {
		t.Error("no request was accepted")
	}
	for _, i := range refused {
		retry := hold(i)
		if retry.status != http.StatusCreated {
			t.Errorf("retry of a refused request: got %d %s, want 201", retry.status, retry.raw)
		}
		if got := retry.header.Get("Idempotent-Replayed"); got != "" {
			t.Errorf("retry of a refused request: got Idempotent-Replayed %q, want none", got)
		}
	}
	balance, err := l.Balance(t.Context(), "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	if balance.Escrow != requests {
		t.Errorf("got escrow %d, want %d", balance.Escrow, requests)
	}
}
