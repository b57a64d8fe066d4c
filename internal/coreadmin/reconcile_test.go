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
	_, err := ledger.Do(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
}

func TestReconcile(t *testing.T) {
	ledgerdb.Each(t, func(t *testing.T, database string) {
		ledger := wallettest.Open(t, database, wallet.Config{Logger: quiet})
		commitOperation(t, ledger, wallet.Op{Operation: wallet.OpCredit, Account: "user:u1", Amount: 100})
		commitOperation(t, ledger, wallet.Op{Operation: wallet.OpCredit, Account: "user:u2", Amount: 5})
		commitOperation(t, ledger, wallet.Op{
			Operation:   wallet.OpHold,
			Account:     "user:u1",
			Amount:      40,
			QueueItemID: "q",
			FeatureType: "f",
		})
		h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)

		for name, body := range map[string]string{
			"no body":      "",
			"spaces":       " \n",
			"empty object": "{}",
			"null account": `{"account":null}`,
		} {
			h.runCase(name, func(h *harness) {
				report := h.expectOK(http.MethodPost, reconcile, body).json
				h.expectFields(report, object{"ok": true, "accounts": 2.0, "transactions": 3.0, "findingCount": 0.0})
				totals, _ := report["totals"].(object)
				h.expectFields(totals, object{"issued": 105.0, "escrow": 40.0})
				findings, ok := report["findings"].([]any)
				if !ok || len(findings) != 0 {
					h.Errorf("got findings %v, want an empty list", report["findings"])
				}
			})
		}

		tamperWithLedger(t, database, `UPDATE wallets SET available = available + 1 WHERE account = 'user:u1'`)
		h.runCase("tampered ledger", func(h *harness) {
			report := h.expectOK(http.MethodPost, reconcile, "").json
			h.expectFields(report, object{"ok": false})
			first := report["findings"].([]any)[0].(object)
			h.expectFields(first, object{"check": "balance", "account": "user:u1"})
			if first["detail"] == "" {
				h.Error("got a finding without a detail")
			}
		})
		h.runCase("tampered account", func(h *harness) {
			report := h.expectOK(http.MethodPost, reconcile, `{"account":"user:u1"}`).json
			h.expectFields(report, object{"ok": false, "accounts": 1.0, "totals": nil})
		})
		h.runCase("other account", func(h *harness) {
			report := h.expectOK(http.MethodPost, reconcile, `{"account":"user:u2"}`).json
			h.expectFields(report, object{"ok": true})
		})
	})
}

func TestReconcileRefusesBodies(t *testing.T) {
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
	for name, body := range map[string]string{
		"account without a type": `{"account":"u1"}`,
		"empty account":          `{"account":""}`,
		"number":                 `{"account":7}`,
		"unknown field":          `{"acount":"user:u1"}`,
		"list":                   `[]`,
		"unfinished":             `{`,
	} {
		h.runCase(name, func(h *harness) {
			h.expectProblem(http.StatusBadRequest, "invalid_request", http.MethodPost, reconcile, body)
		})
	}
	h.runCase("unknown account", func(h *harness) {
		h.expectProblem(http.StatusNotFound, "account_not_found", http.MethodPost, reconcile, `{"account":"user:nobody"}`)
	})
	h.runCase("too large", func(h *harness) {
		body := `{"account":"` + strings.Repeat("x", 64<<10) + `"}`
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", http.MethodPost, reconcile, body)
	})
}

// The Content-Type is checked as in the public API.
func TestReconcileContentType(t *testing.T) {
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
	for contentType, want := range map[string]int{
		"application/json; charset=utf-8":   http.StatusOK,
		"":                                  http.StatusOK,
		"application/x-www-form-urlencoded": http.StatusBadRequest,
	} {
		h.runCase(contentType, func(h *harness) {
			req, err := http.NewRequestWithContext(h.Context(), http.MethodPost, h.url+reconcile, strings.NewReader("{}"))
			if err != nil {
				h.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+h.token)
			if contentType != "" {
				req.Header.Set("Content-Type", contentType)
			}
			a := h.send(req)
			if a.status != want {
				h.Errorf("got %d %s, want %d", a.status, a.raw, want)
			}
		})
	}
}

// tamperWithLedger runs a statement on the ledger's database.
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
	_, err = db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
}

// auditedLedger is a ledger whose audit is a function of the test.
type auditedLedger struct {
	*wallet.Ledger
	verify func(context.Context) error
}

func (l auditedLedger) Verify(ctx context.Context, _ wallet.VerifyOptions) (*wallet.Report, error) {
	return &wallet.Report{Findings: []wallet.Finding{}}, l.verify(ctx)
}

func serveAudit(t *testing.T, deadline time.Duration, verify func(context.Context) error) *harness {
	t.Helper()
	return serveAdmin(t, coreadmin.Config{Ledger: auditedLedger{verify: verify}}, deadline)
}

// Only one reconciliation runs at a time. It ends when its client disconnects.
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
		if err != nil {
			return nil //nolint:nilerr // the request must fail
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return errors.Join(errors.New("got an answer, want an error"), resp.Body.Close())
	})
	<-entered
	h.expectProblem(http.StatusConflict, "reconcile_running", http.MethodPost, reconcile, "")
	disconnect()
	err := g.Wait()
	if err != nil {
		t.Error(err)
	}
	err = <-ended
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got audit error %v, want context.Canceled", err)
	}
}

// A reconciliation may run longer than the deadlines of the listener.
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
	report := h.expectOK(http.MethodPost, reconcile, "").json
	h.expectFields(report, object{"ok": true})
}

func TestReconcileErrors(t *testing.T) {
	var failure error
	h := serveAudit(t, time.Minute, func(context.Context) error { return failure })
	failure = wallet.ErrUnavailable
	h.expectProblem(http.StatusServiceUnavailable, "unavailable", http.MethodPost, reconcile, "")
	failure = errors.New("password=hunter2")
	internal := h.expectProblem(http.StatusInternalServerError, "internal", http.MethodPost, reconcile, "")
	if strings.Contains(internal.raw, "hunter2") {
		t.Errorf("the answer has the text of the internal error: %s", internal.raw)
	}
}
