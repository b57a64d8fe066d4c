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

// TestOverload stops commits by a lock: what the queue has no room for is
// answered 503 while nothing moves, and was not done; what was accepted is
// done once commits go on.
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

	const requests, room = 100, 8 + 8*4 // the queue, and batches under way
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
	defer func() { _ = tx.Rollback() }() // else they wait for the lock when the test ends early
	for i := range requests {
		clients.Go(func() {
			r := reply{i: i}
			defer func() { replies <- r }() // also when the request fails the test
			r.answer = hold(i)
		})
	}
	var refused []int
	for len(refused) < requests-room {
		r := <-replies
		if r.status != http.StatusServiceUnavailable || r.json["code"] != "overloaded" || r.header.Get("Retry-After") == "" {
			t.Fatalf("while nothing moves: %d %s", r.status, r.raw)
		}
		refused = append(refused, r.i)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	done := 0
	for range requests - len(refused) {
		switch r := <-replies; r.status {
		case http.StatusCreated:
			done++
		case http.StatusServiceUnavailable:
			refused = append(refused, r.i)
		default:
			t.Errorf("%d %s", r.status, r.raw)
		}
	}
	if done == 0 {
		t.Error("nothing was accepted")
	}
	for _, i := range refused {
		if a := hold(i); a.status != http.StatusCreated || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("the repeat of what was refused: %d %s", a.status, a.raw)
		}
	}
	if b, err := l.Balance(t.Context(), "user:u1"); err != nil || b.Escrow != requests {
		t.Errorf("%+v, %v", b, err)
	}
}
