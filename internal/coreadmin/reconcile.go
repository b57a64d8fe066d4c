package coreadmin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Auditor verifies the ledger. *wallet.Ledger implements it.
type Auditor interface {
	Verify(ctx context.Context, o wallet.VerifyOptions) (*wallet.Report, error)
}

// Report is the JSON form of an audit report, in the admin API and in `core verify`.
type Report struct {
	OK bool `json:"ok"`
	*wallet.Report
	Seconds float64 `json:"seconds"` // the duration of the audit
}

// VerifyLedger verifies the ledger and measures the duration.
func VerifyLedger(ctx context.Context, ledger Auditor, options wallet.VerifyOptions) (*Report, error) {
	start := time.Now()
	report, err := ledger.Verify(ctx, options)
	if err != nil {
		return nil, err
	}
	return &Report{
		OK:      report.OK(),
		Report:  report,
		Seconds: time.Since(start).Seconds(),
	}, nil
}

// reconcileBody is the body of POST /admin/reconcile. It may be absent.
type reconcileBody struct {
	Account *string `json:"account"` // if absent, all accounts and all transactions are verified
}

// reconcileLedger verifies the ledger, or one account, and answers with the report. It has no time
// limit. It stops when its client disconnects. Only one reconciliation runs at a time, because each
// reads the whole ledger.
func (a *API) reconcileLedger(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body reconcileBody
	refusal := readReconcileBody(r, &body)
	if refusal != nil {
		return refusal
	}

	var options wallet.VerifyOptions
	if body.Account != nil {
		account, err := wallet.ParseAccount(*body.Account)
		if err != nil {
			return coreapi.DescribeError(err)
		}
		options.Account = account
	}

	if !a.reconciling.TryLock() {
		return problem.New(http.StatusConflict, "reconcile_running", "Reconciliation is running",
			"only one reconciliation may run at a time; try again when the running one has ended")
	}
	defer a.reconciling.Unlock()

	// The write deadline of the listener is too short for an audit. An error means that the writer
	// has no deadline.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	report, err := VerifyLedger(r.Context(), a.cfg.Ledger, options)
	if err != nil {
		return a.describeAuditError(err)
	}

	if !report.OK {
		a.cfg.Logger.Error("the ledger is inconsistent; see the report of /admin/reconcile or core verify",
			"findings", report.FindingCount)
	}
	httpserver.WriteJSON(w, http.StatusOK, report)
	return nil
}

func readReconcileBody(r *http.Request, body *reconcileBody) *problem.Details {
	if r.ContentLength == 0 {
		return nil
	}
	refusal := httpserver.CheckContentType(r.Header)
	if refusal != nil {
		return refusal
	}
	return httpserver.ReadJSON(r, body)
}

// describeAuditError returns the problem for the client. It logs an error that is not in the error
// table of coreapi.
func (a *API) describeAuditError(err error) *problem.Details {
	details := coreapi.DescribeError(err)
	switch {
	case details == nil:
		a.cfg.Logger.Error("verifying the ledger failed", "error", err)
		return problem.New(http.StatusInternalServerError, "internal", "Internal error",
			"the ledger could not be verified; the server log has the cause")
	case details.Code == "unavailable":
		return ledgerUnavailable()
	}
	return details
}
