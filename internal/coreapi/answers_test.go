package coreapi_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/openapitest"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// failingLedger is a ledger whose calls fail with err. DoBatch panics, because the errors of its
// operations are part of the answer.
type failingLedger struct{ err error }

func (f failingLedger) Do(context.Context, wallet.Op) (wallet.Receipt, error) {
	return wallet.Receipt{}, f.err
}

func (f failingLedger) DoBatch(context.Context, []wallet.Op) []wallet.Result { panic(f.err) }

func (f failingLedger) Balance(context.Context, wallet.Account) (wallet.Balance, error) {
	return wallet.Balance{}, f.err
}

func (f failingLedger) BalanceAt(context.Context, wallet.Account, time.Time) (wallet.Balance, error) {
	return wallet.Balance{}, f.err
}

func (f failingLedger) Entries(
	context.Context, wallet.Account, wallet.EntryFilter, wallet.Page,
) ([]wallet.Entry, string, error) {
	return nil, "", f.err
}

func (f failingLedger) Events(context.Context, wallet.Account, int64, int) ([]wallet.AccountEvent, int64, error) {
	return nil, 0, f.err
}

func (f failingLedger) AllEvents(context.Context, wallet.EventQuery) (wallet.EventPage, error) {
	return wallet.EventPage{}, f.err
}

func (f failingLedger) Escrow(context.Context, uuid.UUID) (wallet.Escrow, error) {
	return wallet.Escrow{}, f.err
}

func (f failingLedger) Escrows(
	context.Context, wallet.Account, wallet.EscrowStatus, wallet.Page,
) ([]wallet.Escrow, string, error) {
	return nil, "", f.err
}

func (f failingLedger) Transaction(context.Context, uuid.UUID) (wallet.Transaction, error) {
	return wallet.Transaction{}, f.err
}

// failingVerifier cannot verify any token.
type failingVerifier struct{}

func (failingVerifier) Verify(context.Context, string) (*auth.Claims, error) {
	return nil, auth.ErrUnavailable
}

// answersWorld serves the API in several ways. All answers are recorded in document.
type answersWorld struct {
	*testing.T
	ledger   *wallet.Ledger
	document *openapitest.Document
}

// serve serves the API, and panics as a core does.
func (w *answersWorld) serve(ledger coreapi.Ledger, verifier coreapi.Verifier, maxBytes int) *harness {
	w.Helper()
	quiet := slog.New(slog.DiscardHandler)
	api := coreapi.New(ledger, verifier, coreapi.Config{Timeout: time.Minute, MaxBytes: maxBytes, Logger: quiet})
	server := httptest.NewServer(httpserver.Recover(api, quiet))
	w.Cleanup(server.Close)
	return newHarness(w.T, server.URL, w.ledger, w.document)
}

// Each answer of the document occurs, so that nobody handles one that does not.
func TestEachDescribedAnswerOccurs(t *testing.T) {
	document := parseDocument()
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	w := &answersWorld{
		T:        t,
		ledger:   wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: slog.New(slog.DiscardHandler)}),
		document: document,
	}

	h := w.serve(w.ledger, verifier, 0)
	calls := h.sendAcceptedCalls()
	h.sendRefusedCalls(calls)
	h.sendRefusedOperations()
	for _, failure := range []error{wallet.ErrOverloaded, wallet.ErrUnavailable, errors.New("broken")} {
		w.serve(failingLedger{failure}, verifier, 0).sendAll(calls)
	}
	w.serve(w.ledger, failingVerifier{}, 0).sendAll(calls)
	tooLarge := request{path: "/v1/batch", body: `{"operations":[` + strings.Repeat(" ", 100<<10) + `]}`}
	w.serve(w.ledger, verifier, 1).send(tooLarge)

	for _, answer := range document.Unseen() {
		t.Errorf("the document describes an answer that did not occur: %s", answer)
	}
}

func (h *harness) sendAll(calls []request) {
	h.Helper()
	for _, call := range calls {
		h.send(call)
	}
}

// sendAcceptedCalls makes each call successfully, and returns all of them.
func (h *harness) sendAcceptedCalls() []request {
	h.Helper()
	h.credit("user:u1", 1000)
	toSettle := h.hold("user:u1", 1)
	toRefund := h.hold("user:u1", 1)
	toSettlePartially := h.hold("user:u1", 100)
	credit := map[string]any{"amount": 1, "reason": "admin_credit"}
	transaction, _ := h.credit("user:u1", 1).json["transactionId"].(string)
	calls := []request{
		{path: "/v1/accounts/user:u1/credits", body: credit},
		{path: "/v1/accounts/user:u1/debits", body: credit},
		{path: "/v1/accounts/user:u1/holds", body: holdBody(1)},
		{path: "/v1/escrows/" + toSettle + "/settle", body: settleBody(1)},
		{path: "/v1/escrows/" + toRefund + "/refund", body: refundBody(1)},
		{path: "/v1/escrows/" + toSettlePartially + "/partial-settle", body: partialBody(40, 60)},
		{path: "/v1/batch", body: map[string]any{"operations": []any{creditItem("batch", 1)}}},
		{path: "/v1/accounts/user:u1/balance"},
		{path: "/v1/accounts/user:u1/entries"},
		{path: "/v1/accounts/user:u1/events"},
		{path: "/v1/accounts/user:u1/escrows"},
		{path: "/v1/escrows/" + toSettle},
		{path: "/v1/transactions/" + transaction},
		{path: "/v1/events", token: h.eventsToken()},
	}
	for _, call := range calls {
		status := h.send(call).status
		if status >= http.StatusMultipleChoices {
			h.Errorf("%s: got status %d, want success", call.path, status)
		}
	}
	h.send(request{path: "/openapi.json", token: "-"})
	h.send(request{path: "/docs", token: "-"})
	return calls
}

// eventsToken returns a token for the events of all accounts.
func (h *harness) eventsToken() string {
	h.Helper()
	return signToken(h.T, "reader", nil, auth.ScopeEvents)
}

// sendRefusedCalls makes each call in ways that all calls refuse.
func (h *harness) sendRefusedCalls(calls []request) {
	h.Helper()
	stranger := signToken(h.T, "user:stranger", nil, "")
	for _, call := range calls {
		withoutToken := call
		withoutToken.token = "-"
		h.send(withoutToken)

		withoutRights := call
		withoutRights.token = stranger
		h.send(withoutRights)

		withParameter := call
		withParameter.path += "?unknown=1"
		h.send(withParameter)

		if call.body != nil {
			tooLarge := call
			tooLarge.body = strings.Repeat(" ", 2<<20)
			h.send(tooLarge)
		}
	}
}

// sendRefusedOperations makes calls that the rules of the ledger refuse.
func (h *harness) sendRefusedOperations() {
	h.Helper()
	credit := map[string]any{"amount": 1, "reason": "admin_credit"}
	tooMuch := map[string]any{"amount": 1_000_000, "reason": "admin_credit"}
	unknown := "/v1/escrows/" + uuid.NewString()
	h.sendAll([]request{
		{path: "/v1/accounts/user:u1/debits", body: tooMuch},
		{path: "/v1/accounts/user:u1/holds", body: holdBody(1_000_000)},
		{path: "/v1/accounts/user:nobody/debits", body: credit},
		{path: "/v1/accounts/user:nobody/holds", body: holdBody(1)},
		{path: "/v1/accounts/user:nobody/balance"},
		{path: "/v1/accounts/user:nobody/entries"},
		{path: "/v1/accounts/user:nobody/events"},
		{path: "/v1/accounts/user:nobody/escrows"},
		{path: "/v1/transactions/" + uuid.NewString()},
		{path: "/v1/events?cursor=1.0.1." + uuid.Must(uuid.NewV7()).String(), token: h.eventsToken()},
		{path: unknown},
		{path: unknown + "/settle", body: settleBody(1)},
		{path: unknown + "/refund", body: refundBody(1)},
		{path: unknown + "/partial-settle", body: partialBody(40, 60)},
	})

	// Each key is used twice, with another amount.
	for call, bodies := range map[string][]any{
		"/v1/accounts/user:u1/credits": {credit, tooMuch},
		"/v1/accounts/user:u1/debits":  {credit, tooMuch},
		"/v1/accounts/user:u1/holds":   {holdBody(1), holdBody(2)},
	} {
		for _, body := range bodies {
			h.send(request{path: call, key: "used", body: body})
		}
	}
	for call, body := range map[string]map[string]any{
		"/settle":         settleBody(2),
		"/refund":         refundBody(2),
		"/partial-settle": partialBody(1, 1),
	} {
		first := "/v1/escrows/" + h.hold("user:u1", 2) + call
		second := "/v1/escrows/" + h.hold("user:u1", 2) + call
		other := "/v1/escrows/" + h.hold("user:u1", 3) + call
		h.sendAll([]request{
			{path: other, body: body}, // amount_mismatch
			{path: first, key: "used", body: body},
			{path: first, body: body},               // escrow_already_processed
			{path: second, key: "used", body: body}, // idempotency_key_reused
		})
	}
}

func partialBody(refund, settle int) map[string]any {
	body := settleBody(0)
	delete(body, "amount")
	body["refundAmount"] = refund
	body["settleAmount"] = settle
	return body
}
