package coreadmin_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

const reconcile = "/admin/reconcile"

// commitOperation commits an operation.
func commitOperation(t *testing.T, ledger *wallet.Ledger, op wallet.Op) {
	t.Helper()
	op.IdempotencyKey = uuid.NewString()
	op.Reason = "test"
	if _, err := ledger.Do(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

func TestReconcile(t *testing.T) {
	ledgerdb.Each(t, func(t *testing.T, database string) {
		ledger := wallettest.Open(t, database, wallet.Config{Logger: quiet})
		commitOperation(t, ledger, wallet.Op{Operation: wallet.OpCredit, Account: "user:u1", Amount: 100})
		commitOperation(t, ledger, wallet.Op{Operation: wallet.OpCredit, Account: "user:u2", Amount: 5})
		commitOperation(t, ledger, wallet.Op{Operation: wallet.OpHold, Account: "user:u1", Amount: 40, QueueItemID: "q", FeatureType: "f"})
		h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
		verify := func(body string) object {
			t.Helper()
			return h.expectOK(http.MethodPost, reconcile, body).json
		}

		for _, body := range []string{"", " \n", "{}", `{"account":null}`} {
			r := verify(body)
			totals, _ := r["totals"].(object)
			if r["ok"] != true || r["accounts"] != 2.0 || r["transactions"] != 3.0 || r["findingCount"] != 0.0 || totals["issued"] != 105.0 || totals["escrow"] != 40.0 {
				t.Errorf("%q: %v", body, r)
			}
			if list, is := r["findings"].([]any); !is || len(list) != 0 {
				t.Errorf("findings: %v", r["findings"])
			}
		}
		tamperWithLedger(t, database, `UPDATE wallets SET available = available + 1 WHERE account = 'user:u1'`)
		r := verify("")
		if first := r["findings"].([]any)[0].(object); r["ok"] != false || first["check"] != "balance" || first["account"] != "user:u1" || first["detail"] == "" {
			t.Errorf("after tampering: %v", r)
		}
		if r := verify(`{"account":"user:u1"}`); r["ok"] != false || r["accounts"] != 1.0 || r["totals"] != nil {
			t.Errorf("user:u1: %v", r)
		}
		if r := verify(`{"account":"user:u2"}`); r["ok"] != true {
			t.Errorf("user:u2: %v", r)
		}
		h.expectProblem(http.StatusNotFound, "account_not_found", http.MethodPost, reconcile, `{"account":"user:nobody"}`)
		for _, body := range []string{`{"account":"u1"}`, `{"account":""}`, `{"account":7}`, `{"acount":"user:u1"}`, `[]`, `{`} {
			h.expectProblem(http.StatusBadRequest, "invalid_request", http.MethodPost, reconcile, body)
		}
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", http.MethodPost, reconcile, `{"account":"`+strings.Repeat("x", 64<<10)+`"}`)
	})
}

// A body of another type is refused, as in the public API.
func TestReconcileContentType(t *testing.T) {
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
	for contentType, status := range map[string]int{
		"application/json; charset=utf-8": http.StatusOK, "": http.StatusOK, "application/x-www-form-urlencoded": http.StatusBadRequest,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+reconcile, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+h.token)
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if a := h.send(req); a.status != status {
			t.Errorf("%q: %d %s, want %d", contentType, a.status, a.raw, status)
		}
	}
}

func tamperWithLedger(t *testing.T, url, statement string) {
	t.Helper()
	driver := "postgres"
	dsn := url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver = "sqlite"
		dsn = path
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// slowLedger is a ledger whose audit is the test's.
type slowLedger struct {
	*wallet.Ledger
	verify func(context.Context) error
}

func (l slowLedger) Verify(ctx context.Context, _ wallet.VerifyOptions) (*wallet.Report, error) {
	return &wallet.Report{Findings: []wallet.Finding{}}, l.verify(ctx)
}

func serveAudit(t *testing.T, deadline time.Duration, verify func(context.Context) error) *harness {
	t.Helper()
	return serveAdmin(t, coreadmin.Config{Ledger: slowLedger{verify: verify}}, deadline)
}

// One reconciliation runs at a time, and ends when its client disconnects.
func TestReconcileRunsOnce(t *testing.T) {
	entered := make(chan struct{})
	ended := make(chan error, 1)
	h := serveAudit(t, time.Minute, func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	ctx, disconnect := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+reconcile, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+h.token)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			return errors.Join(errors.New("answered"), resp.Body.Close())
		}
		return nil
	})
	<-entered
	h.expectProblem(http.StatusConflict, "reconcile_running", http.MethodPost, reconcile, "")
	disconnect()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the audit ended with %v", err)
	}
}

// A reconciliation may take longer than the listener's deadlines.
func TestReconcileOutlastsDeadlines(t *testing.T) {
	const deadline = 50 * time.Millisecond
	h := serveAudit(t, deadline, func(ctx context.Context) error {
		select {
		case <-time.After(4 * deadline):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if r := h.expectOK(http.MethodPost, reconcile, ""); r.json["ok"] != true {
		t.Errorf("report: %s", r.raw)
	}
}

func TestReconcileFails(t *testing.T) {
	var failure error
	h := serveAudit(t, time.Minute, func(context.Context) error { return failure })
	failure = wallet.ErrUnavailable
	h.expectProblem(http.StatusServiceUnavailable, "unavailable", http.MethodPost, reconcile, "")
	failure = errors.New("password=hunter2")
	if a := h.expectProblem(http.StatusInternalServerError, "internal", http.MethodPost, reconcile, ""); strings.Contains(a.raw, "hunter2") {
		t.Error("the answer shows the inside of an error")
	}
}
