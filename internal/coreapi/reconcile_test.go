package coreapi_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// reconciling is the handler behind a listener with its own deadlines.
func reconciling(t *testing.T, l coreapi.Auditor, deadline time.Duration) *harness {
	t.Helper()
	srv := httptest.NewUnstartedServer(httpserver.Recover(coreapi.Reconcile(l, slog.New(slog.DiscardHandler)), nil))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = deadline, deadline
	srv.Start()
	t.Cleanup(srv.Close)
	return &harness{T: t, url: srv.URL}
}

func TestReconcile(t *testing.T) {
	ledgerdb.Each(t, func(t *testing.T, database string) {
		l := wallettest.Open(t, database, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
		api := serve(t, l, l)
		api.credit("user:u1", 100)
		api.credit("user:u2", 5)
		api.hold("user:u1", 40)
		h := reconciling(t, l, time.Minute)
		verify := func(body any) item {
			return h.good(http.StatusOK, request{method: http.MethodPost, path: "/", body: body}).json
		}

		for _, body := range []any{nil, "", "{}", `{"account":null}`} {
			r := verify(body)
			totals, _ := r["totals"].(item)
			if r["ok"] != true || r["accounts"] != 2.0 || r["transactions"] != 3.0 || r["findingCount"] != 0.0 || totals["issued"] != 105.0 || totals["escrow"] != 40.0 {
				h.Errorf("%v: %v", body, r)
			}
			if list, is := r["findings"].([]any); !is || len(list) != 0 {
				h.Errorf("findings: %v", r["findings"])
			}
		}
		tamper(t, database, `UPDATE wallets SET available = available + 1 WHERE account = 'user:u1'`)
		r := verify(nil)
		if first := r["findings"].([]any)[0].(item); r["ok"] != false || first["check"] != "balance" || first["account"] != "user:u1" || first["detail"] == "" {
			h.Errorf("after tampering: %v", r)
		}
		if r := verify(`{"account":"user:u1"}`); r["ok"] != false || r["accounts"] != 1.0 || r["totals"] != nil {
			h.Errorf("user:u1: %v", r)
		}
		if r := verify(`{"account":"user:u2"}`); r["ok"] != true {
			h.Errorf("user:u2: %v", r)
		}
		h.refused(http.StatusNotFound, "account_not_found", request{path: "/", body: `{"account":"user:nobody"}`})
		for _, body := range []string{`{"account":"u1"}`, `{"account":""}`, `{"account":7}`, `{"acount":"user:u1"}`, `[]`, `{`} {
			h.refused(http.StatusBadRequest, "invalid_request", request{path: "/", body: body})
		}
	})
}

func tamper(t *testing.T, url, statement string) {
	t.Helper()
	driver, dsn := "postgres", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, dsn = "sqlite", path
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

// auditor stands for a ledger that takes long to verify.
type auditor func(context.Context) error

func (a auditor) Verify(ctx context.Context, _ wallet.VerifyOptions) (*wallet.Report, error) {
	return &wallet.Report{Findings: []wallet.Finding{}}, a(ctx)
}

// One runs at a time, and ends when its client goes away.
func TestReconcileOnce(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error, 1)
	h := reconciling(t, auditor(func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}), time.Minute)
	ctx, leave := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			return errors.Join(errors.New("answered"), resp.Body.Close())
		}
		return nil
	})
	<-entered
	h.refused(http.StatusConflict, "reconcile_running", request{method: http.MethodPost, path: "/"})
	leave()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// It may take longer than the listener gives other requests.
func TestReconcileOutlastsDeadlines(t *testing.T) {
	const deadline = 50 * time.Millisecond
	h := reconciling(t, auditor(func(ctx context.Context) error {
		select {
		case <-time.After(4 * deadline):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}), deadline)
	if r := h.good(http.StatusOK, request{method: http.MethodPost, path: "/"}); r.json["ok"] != true {
		t.Errorf("report: %s", r.raw)
	}
}

func TestReconcileInTrouble(t *testing.T) {
	var failure error
	h := reconciling(t, auditor(func(context.Context) error { return failure }), time.Minute)
	failure = wallet.ErrUnavailable
	h.refused(http.StatusServiceUnavailable, "unavailable", request{method: http.MethodPost, path: "/"})
	failure = errors.New("password=hunter2")
	if a := h.refused(http.StatusInternalServerError, "internal", request{method: http.MethodPost, path: "/"}); strings.Contains(a.raw, "hunter2") {
		t.Error("the inside of an error went to the client")
	}
}
