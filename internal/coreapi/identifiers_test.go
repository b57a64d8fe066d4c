package coreapi_test

import (
	"net/http"
	"strconv"
	"testing"
)

// closeEachWay credits 500 points to user:u1 and closes one hold with model:m1 in each way.
func (h *harness) closeEachWay() {
	h.Helper()
	h.credit("user:u1", 500)
	settled := "/v1/escrows/" + h.hold("user:u1", 100)
	refunded := "/v1/escrows/" + h.hold("user:u1", 50)
	split := "/v1/escrows/" + h.hold("user:u1", 30)
	h.expect(http.StatusOK, request{path: settled + "/settle", body: settleBody(100)})
	h.expect(http.StatusOK, request{path: refunded + "/refund", body: refundBody(50)})
	h.expect(http.StatusOK, request{path: split + "/partial-settle", body: partialSettleBody(10, 20)})
}

// Events have bare ids, whatever form the request had.
func TestEventsHaveBareIDs(t *testing.T) {
	withModel := item{"userId": "u1", "modelId": "m1", "accountId": nil, "accountType": nil}
	withoutModel := item{"userId": "u1", "modelId": nil, "accountId": nil, "accountType": nil}
	onEachDatabase(t, func(h *harness) {
		h.closeEachWay()
		for account, balanceUpdated := range map[string]item{
			"user:u1":  {"userId": nil, "modelId": nil, "accountId": "u1", "accountType": "user"},
			"model:m1": {"userId": nil, "modelId": nil, "accountId": "m1", "accountType": "model"},
		} {
			want := map[string]item{
				"wallet.escrow_held":            withoutModel,
				"wallet.escrow_settled":         withModel,
				"wallet.escrow_refunded":        withoutModel,
				"wallet.escrow_partial_settled": withModel,
				"wallet.balance_updated":        balanceUpdated,
			}
			page := h.expect(http.StatusOK, request{path: "/v1/accounts/" + account + "/events"}).json
			events, _ := page["events"].([]any)
			if len(events) < 4 {
				h.Fatalf("%s: got %d events, want at least 4", account, len(events))
			}
			for _, e := range events {
				h.expectFields(e.(item), item{"account": account})
				event, _ := e.(item)["event"].(item)
				eventType, _ := event["eventType"].(string)
				h.runCase(account+" "+eventType, func(h *harness) { h.expectFields(event, want[eventType]) })
			}
		}
	})
}

// The account has the full form; the id is bare and stands beside the type.
func TestEntriesHaveAccountAndBareID(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		receipt := h.credit("user:u1", 500).json
		transaction := h.expect(http.StatusOK, request{path: "/v1/transactions/" + receipt["transactionId"].(string)}).json
		entries, _ := transaction["entries"].([]any)
		if len(entries) != 2 {
			h.Fatalf("got %d entries, want 2", len(entries))
		}
		ofUser := item{"account": "user:u1", "accountId": "u1", "accountType": "user"}
		h.expectFields(entries[0].(item), ofUser)
		h.expectFields(entries[1].(item), item{"account": "system:issuance", "accountId": "issuance", "accountType": "system"})

		page := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries"}).json
		h.expectFields(page["entries"].([]any)[0].(item), ofUser)
	})
}

func TestInsufficientFundsHasAccountAndBareID(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("model:m1", 5)
		body := item{"amount": 6, "reason": "payout"}
		problem := h.expectProblem(http.StatusPaymentRequired, "insufficient_funds",
			request{path: "/v1/accounts/model:m1/debits", body: body})
		h.expectFields(problem.json, item{"account": "model:m1", "accountId": "m1", "accountType": "model"})
	})
}

// modelId accepts both forms, and they are the same request: a retry may have the other one.
func TestModelIDHasTwoForms(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		settle := settleBody(10)
		settle["modelId"] = "m1"
		h.retryWithFullModelID(request{path: "/v1/escrows/" + h.hold("user:u1", 10) + "/settle", body: settle})
		h.retryWithFullModelID(request{
			path: "/v1/escrows/" + h.hold("user:u1", 30) + "/partial-settle",
			body: partialSettleBody(10, 20),
		})
		h.checkBalance("model:m1", 30)
	})
}

// retryWithFullModelID sends a request with a bare modelId, and again with its full form. The second
// answer must be the first one.
func (h *harness) retryWithFullModelID(r request) {
	h.Helper()
	r.key = "k"
	first := h.expect(http.StatusOK, r)
	body, _ := r.body.(item)
	body["modelId"] = "model:" + body["modelId"].(string)
	again := h.expect(http.StatusOK, r)
	if again.raw != first.raw {
		h.Errorf("%s: got %s, want the first answer %s", r.path, again.raw, first.raw)
	}
	if got := again.header.Get("Idempotent-Replayed"); got != "true" {
		h.Errorf("%s: got Idempotent-Replayed %q, want true", r.path, got)
	}
}

func TestModelIDHasTwoFormsInBatch(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		split := closeItem("settle", "split", h.hold("user:u1", 30), 0)
		split["operation"] = "partial_settle"
		split["refundAmount"] = 10
		split["settleAmount"] = 20
		delete(split, "amount")
		for _, operation := range []item{closeItem("settle", "settle", h.hold("user:u1", 10), 10), split} {
			operation["modelId"] = "m1"
			first := h.sendBatch("", operation)[0]
			operation["modelId"] = "model:m1"
			again := h.sendBatch("", operation)[0]
			h.expectFields(first, item{"status": 200.0, "replayed": nil})
			h.expectFields(again, item{"status": 200.0, "replayed": true})
		}
	})
}

func TestBadModelIDInBatch(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		escrow := h.hold("user:u1", 10)
		for _, modelID := range badModelIDs {
			h.runCase(strconv.Quote(modelID), func(h *harness) {
				operation := closeItem("settle", "k", escrow, 10)
				operation["modelId"] = modelID
				problem := h.checkProblem(h.sendBatch("", operation)[0], http.StatusBadRequest, "invalid_request")
				if got := h.firstPointer(problem); got != "/operations/0/modelId" {
					h.Errorf("got pointer %s, want /operations/0/modelId", got)
				}
			})
		}
	})
}
