package coreapi_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// blockedLedger is the API in front of a Postgres ledger whose tables a test can lock.
type blockedLedger struct {
	*harness
	db           *sql.DB
	called       chan struct{} // gets a value when a write reaches the ledger
	disconnected chan struct{} // gets a value when the server detects that a client has disconnected
}

// announcingLedger is a ledger that reports when a write reaches it.
type announcingLedger struct {
	*wallet.Ledger
	called chan<- struct{}
}

func (a announcingLedger) Do(ctx context.Context, op wallet.Op) (wallet.Receipt, error) {
	a.called <- struct{}{}
	return a.Ledger.Do(ctx, op)
}

func (a announcingLedger) DoBatch(ctx context.Context, ops []wallet.Op) []wallet.Result {
	a.called <- struct{}{}
	return a.Ledger.DoBatch(ctx, ops)
}

func newBlockedLedger(t *testing.T) *blockedLedger {
	t.Helper()
	// No wait for a lock ends by itself.
	url := ledgerdb.Postgres(t) + "&lock_timeout=300000&statement_timeout=300000"
	return newBlockedAPI(t, url, coreapi.Config{Timeout: 5 * time.Minute})
}

// newBlockedAPI is newBlockedLedger with a database and with settings of the API.
func newBlockedAPI(t *testing.T, url string, cfg coreapi.Config) *blockedLedger {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ledger := wallettest.Open(t, url, wallet.Config{Logger: quiet})
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b := &blockedLedger{db: db, called: make(chan struct{}, 100), disconnected: make(chan struct{}, 100)}
	cfg.Logger = quiet
	api := coreapi.New(announcingLedger{ledger, b.called}, verifier, cfg)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop := context.AfterFunc(r.Context(), func() { b.disconnected <- struct{}{} })
		defer stop()
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.harness = newHarness(t, server.URL, ledger, described())
	return b
}

// lockWith runs a statement that locks rows or a table, until unlock.
func (b *blockedLedger) lockWith(statement string) (unlock func()) {
	b.Helper()
	tx, err := b.db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := tx.ExecContext(b.Context(), statement); err != nil {
		b.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// waitForBlocked waits until n statements that contain text wait for a lock.
func (b *blockedLedger) waitForBlocked(text string, n int) {
	b.Helper()
	waitUntil(b.T, func() bool {
		var waiting int
		err := b.db.QueryRowContext(b.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, $1) > 0`, text).Scan(&waiting)
		if err != nil {
			b.Fatal(err)
		}
		return waiting == n
	})
}

// startRequest sends a request on its own connection. disconnect closes the connection and checks that
// there was no answer.
func (b *blockedLedger) startRequest(method, path, key, body string) (disconnect func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	var g errgroup.Group
	g.Go(func() error {
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		answer, _ := io.ReadAll(resp.Body)
		return errors.Join(fmt.Errorf("answered %d %s before the client disconnected", resp.StatusCode, answer), resp.Body.Close())
	})
	return func() {
		cancel()
		if err := g.Wait(); !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	}
}

// A client that disconnects cancels the query of its read.
func TestDisconnectCancelsRead(t *testing.T) {
	t.Parallel()
	b := newBlockedLedger(t)
	b.credit("user:u1", 100)
	escrow := b.hold("user:u1", 10)
	for _, tt := range []struct{ path, table string }{
		{"/v1/accounts/user:u1/balance", "wallets"},
		{"/v1/accounts/user:u1/balance?asOf=" + time.Now().UTC().Format(time.RFC3339), "wallets"},
		{"/v1/accounts/user:u1/entries", "wallets"},
		{"/v1/accounts/user:u1/events", "wallets"},
		{"/v1/accounts/user:u1/escrows", "escrows"},
		{"/v1/escrows/" + escrow, "escrows"},
		{"/v1/transactions/" + uuid.NewString(), "transactions"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			unlock := b.lockWith("LOCK TABLE " + tt.table + " IN ACCESS EXCLUSIVE MODE")
			defer unlock()
			disconnect := b.startRequest(http.MethodGet, tt.path, "", "")
			b.waitForBlocked("FROM "+tt.table, 1)
			disconnect()
			b.waitForBlocked("FROM "+tt.table, 0)
			<-b.disconnected
		})
	}
}

// A write whose client disconnects completes, and a retry with the same key returns its result.
// That holds for the operation that is being committed and for those that are still in the queue.
func TestDisconnectDoesNotLoseWrite(t *testing.T) {
	t.Parallel()
	b := newBlockedLedger(t)
	b.credit("user:u1", 100)
	<-b.called
	const (
		holds = "/v1/accounts/user:u1/holds"
		hold  = `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f"}`
		item  = `{"operation":"hold","idempotencyKey":"batched","account":"user:u1","amount":1,"reason":"x","queueItemId":"q","featureType":"f"}`
		batch = `{"operations":[` + item + `]}`
	)
	unlock := b.lockWith("SELECT 1 FROM wallets WHERE account = 'user:u1' FOR UPDATE")
	defer unlock()
	disconnectFirst := b.startRequest(http.MethodPost, holds, "first", hold)
	<-b.called
	b.waitForBlocked("", 1) // the statement that commits the first hold
	disconnectSecond := b.startRequest(http.MethodPost, holds, "second", hold)
	<-b.called
	disconnectBatch := b.startRequest(http.MethodPost, "/v1/batch", "", batch)
	<-b.called
	for _, disconnect := range []func(){disconnectFirst, disconnectSecond, disconnectBatch} {
		disconnect()
		<-b.disconnected
	}
	unlock()

	for _, key := range []string{"first", "second"} {
		retry := b.expect(http.StatusCreated, request{path: holds, key: key, body: hold})
		if retry.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: the retry was not replayed", key)
		}
	}
	retry := b.expect(http.StatusOK, request{path: "/v1/batch", key: "-", body: batch})
	if !strings.Contains(retry.raw, `"replayed":true`) {
		t.Errorf("the retry of the batch was not replayed: %s", retry.raw)
	}
	b.checkBalance("user:u1", 97, 3)
}
