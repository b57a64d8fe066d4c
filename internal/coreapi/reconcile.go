package coreapi

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Auditor checks the ledger. *wallet.Ledger is one.
type Auditor interface {
	Verify(ctx context.Context, o wallet.VerifyOptions) (*wallet.Report, error)
}

// Report is a report as programs get it, over HTTP and from core verify.
type Report struct {
	OK bool `json:"ok"`
	*wallet.Report
	Seconds float64 `json:"seconds"` // how long it took
}

// Audit verifies and times it.
func Audit(ctx context.Context, l Auditor, o wallet.VerifyOptions) (*Report, error) {
	begin := time.Now()
	r, err := l.Verify(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Report{OK: r.OK(), Report: r, Seconds: time.Since(begin).Seconds()}, nil
}

// Reconcile is the handler of POST /admin/reconcile: it verifies the ledger, or
// one account, and answers with the report. It takes as long as it takes and ends
// when the client goes away. One runs at a time: each reads the whole ledger.
func Reconcile(l Auditor, log *slog.Logger) http.Handler {
	return &reconcile{ledger: l, log: log}
}

type reconcile struct {
	ledger  Auditor
	log     *slog.Logger
	bodies  bodies
	running sync.Mutex // held while one runs
}

func (h *reconcile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	report, err := h.run(w, r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	if !report.OK {
		h.log.Error("the ledger is not as it must be: see the report of /admin/reconcile or core verify", "findings", report.FindingCount)
	}
	httpserver.WriteJSON(w, http.StatusOK, report)
}

func (h *reconcile) run(w http.ResponseWriter, r *http.Request) (*Report, error) {
	account, err := h.account(r)
	if err != nil {
		return nil, err
	}
	if !h.running.TryLock() {
		return nil, problem.New(http.StatusConflict, "reconcile_running", "Reconciliation is running",
			"this core is verifying its ledger already; ask again when that has ended")
	}
	defer h.running.Unlock()
	// The listener's deadline is for answers that come soon. A writer that has none
	// is fine. The one for reading ended when the body was read.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	return Audit(r.Context(), h.ledger, wallet.VerifyOptions{Account: account})
}

// account reads the optional body.
func (h *reconcile) account(r *http.Request) (wallet.Account, error) {
	p := h.bodies.get()
	defer h.bodies.put(p)
	if err := readBody(r, p); err != nil {
		return "", err
	}
	if len(bytes.TrimSpace(*p)) == 0 {
		return "", nil
	}
	if err := checkContentType(r.Header); err != nil {
		return "", err
	}
	var body struct {
		Account *string `json:"account"`
	}
	if err := strict(*p, &body); err != nil {
		return "", err
	}
	if body.Account == nil {
		return "", nil
	}
	return wallet.ParseAccount(*body.Account)
}

func (h *reconcile) refuse(w http.ResponseWriter, err error) {
	d := describe(err)
	if p := (*problem.Details)(nil); errors.As(err, &p) {
		d = p
	}
	if d == nil {
		h.log.Error("reconcile failed", "err", err)
		d = problem.New(http.StatusInternalServerError, "internal", "Internal error", "the ledger could not be verified; the log tells why")
	}
	if d.Code == "unavailable" {
		d.Detail = "the ledger's database did not answer: nothing is known"
	}
	problem.Write(w, d)
}

// EntryJSON is an entry as the API lists it.
func EntryJSON(e *wallet.Entry) ([]byte, error) { return appendEntry(nil, e) }
