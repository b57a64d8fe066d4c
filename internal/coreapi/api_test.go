package coreapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEveryCall(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		credit := h.credit("user:u1", 500)
		if credit.json["operation"] != "credit" || credit.json["escrowId"] != nil {
			h.Errorf("receipt of a credit: %s", credit.raw)
		}
		h.checkBalance("user:u1", 500, 0)

		settled, refunded, split := h.hold("user:u1", 100), h.hold("user:u1", 50), h.hold("user:u1", 30)
		h.checkBalance("user:u1", 320, 180)
		receipt := h.expect(http.StatusOK, request{path: "/v1/escrows/" + settled + "/settle", body: settleBody(100)})
		if receipt.json["escrowId"] != settled {
			h.Errorf("receipt of a settlement: %s", receipt.raw)
		}
		if b, _ := receipt.json["balances"].([]any); len(b) != 2 {
			h.Errorf("a settlement changes two accounts: %s", receipt.raw)
		}
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + refunded + "/refund", body: refundBody(50)})
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + split + "/partial-settle", body: map[string]any{
			"modelId": "m1", "refundAmount": 10, "settleAmount": 20, "reason": "partial_performance", "queueItemId": "queue-1",
		}})
		h.expect(http.StatusCreated, request{path: "/v1/accounts/model:m1/debits", body: map[string]any{"amount": 7, "reason": "payout"}})
		h.checkBalance("user:u1", 380, 0)
		h.checkBalance("model:m1", 113)

		tx := h.expect(http.StatusOK, request{path: fmt.Sprint("/v1/transactions/", receipt.json["transactionId"])})
		sum := 0.0
		entries, _ := tx.json["entries"].([]any)
		for _, e := range entries {
			sum += e.(map[string]any)["amount"].(float64)
		}
		if sum != 0 || len(entries) < 2 || tx.json["operation"] != "settle" {
			h.Errorf("transaction: %s", tx.raw)
		}

		escrow := h.expect(http.StatusOK, request{path: "/v1/escrows/" + split}).json
		for field, want := range map[string]any{
			"status": "partially_settled", "userId": "user:u1", "modelId": "model:m1", "refundAmount": 10.0, "settleAmount": 20.0, "amount": 30.0,
		} {
			if escrow[field] != want {
				h.Errorf("escrow: %s is %v, want %v", field, escrow[field], want)
			}
		}
		if list := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/escrows?status=held"}); strings.Contains(list.raw, "escrowId") {
			h.Errorf("no escrow is held: %s", list.raw)
		}
		if list, _ := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/escrows"}).json["escrows"].([]any); len(list) != 3 {
			h.Errorf("%d escrows, want 3", len(list))
		}

		events := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/events?after=1&limit=2"})
		page, _ := events.json["events"].([]any)
		if len(page) != 2 || page[0].(map[string]any)["seq"] != 2.0 || page[0].(map[string]any)["account"] != "user:u1" {
			h.Errorf("events: %s", events.raw)
		}
		if last := events.json["last"]; last != 18.0 { // 1 credit, 3 holds of 3, settle 2, refund 3, partial 3
			h.Errorf("last is %v, want 18", last)
		}
	})
}

func TestEntriesPaging(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for range 5 {
			h.credit("user:u1", 10)
		}
		var seen []float64
		path := "/v1/accounts/user:u1/entries?limit=2"
		for next := ""; ; {
			page := h.expect(http.StatusOK, request{path: path + next}).json
			entries, _ := page["entries"].([]any)
			for _, e := range entries {
				seen = append(seen, e.(map[string]any)["seq"].(float64))
			}
			cursor, more := page["next"].(string)
			if !more {
				break
			}
			next = "&before=" + cursor
		}
		if fmt.Sprint(seen) != "[5 4 3 2 1]" {
			h.Errorf("entries in order %v", seen)
		}
		none := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries?reason=payout&from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z"})
		if none.raw != `{"entries":[]}`+"\n" {
			h.Errorf("no entries: %s", none.raw)
		}
	})
}

func TestBalanceAsOf(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		at := func(when string) item {
			return h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/balance?asOf=" + url.QueryEscape(when)}).json
		}
		first := h.credit("user:u1", 10).json["timestamp"].(string)
		made, err := time.Parse(time.RFC3339, first)
		if err != nil {
			t.Fatal(err)
		}
		for last := made; !last.After(made); { // until a credit comes in another millisecond
			last, err = time.Parse(time.RFC3339, h.credit("user:u1", 10).json["timestamp"].(string))
			if err != nil {
				t.Fatal(err)
			}
		}
		now := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/balance"}).json
		if b := at("2999-12-31T23:59:59Z"); !reflect.DeepEqual(b, now) {
			h.Errorf("in the future %v, now %v", b, now)
		}
		then := at(first)
		if then["lastUpdated"] != first || then["availableBalance"] == now["availableBalance"] {
			h.Errorf("as of %s: %v", first, then)
		}
		if b := at(made.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano)); !reflect.DeepEqual(b, then) {
			h.Errorf("in another time zone %v, want %v", b, then)
		}
		for _, before := range []string{made.Add(-time.Millisecond).Format(time.RFC3339Nano), "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"} {
			if b := at(before); b["availableBalance"] != 0.0 || b["seq"] != 0.0 {
				h.Errorf("as of %s: %v", before, b)
			}
		}
		h.expectProblem(http.StatusNotFound, "account_not_found", request{path: "/v1/accounts/user:nobody/balance?asOf=2026-01-01T00:00:00Z"})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/accounts/user:u1/balance?asOf=nonsense", token: signToken(t, "user:u2", nil, "")})
	})
}

func TestReplay(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		body := map[string]any{"amount": 5, "reason": "admin_credit"}
		first := h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", key: "k", body: body})
		again := h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", key: "k", body: body, header: map[string]string{"X-Request-Id": "other"}})
		if again.raw != first.raw || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
			h.Errorf("first %s %v\nagain %s %v", first.raw, first.header, again.raw, again.header)
		}
		body["amount"] = 6
		h.expectProblem(http.StatusUnprocessableEntity, "idempotency_key_reused", request{path: "/v1/accounts/user:u1/credits", key: "k", body: body})
		// Refusals are not remembered.
		r := request{path: "/v1/accounts/user:u1/holds", key: "h", body: holdBody(50)}
		funds := h.expectProblem(http.StatusPaymentRequired, "insufficient_funds", r)
		if funds.json["availableBalance"] != 5.0 {
			h.Errorf("problem: %s", funds.raw)
		}
		h.credit("user:u1", 100)
		h.expect(http.StatusCreated, r)
		h.checkBalance("user:u1", 55, 50)
	})
}

func TestRefusals(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const nobody = "/v1/escrows/01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a"
		h.credit("user:u1", 100)
		escrow := "/v1/escrows/" + h.hold("user:u1", 40)

		h.expectProblem(http.StatusUnprocessableEntity, "amount_mismatch", request{path: escrow + "/settle", body: settleBody(39)})
		h.expectProblem(http.StatusUnprocessableEntity, "amount_mismatch", request{path: escrow + "/refund", body: refundBody(41)})
		h.expect(http.StatusOK, request{path: escrow + "/settle", body: settleBody(40)})
		twice := h.expectProblem(http.StatusConflict, "escrow_already_processed", request{path: escrow + "/settle", body: settleBody(40)})
		if twice.json["escrowStatus"] != "settled" {
			h.Errorf("problem: %s", twice.raw)
		}
		h.expectProblem(http.StatusConflict, "escrow_already_processed", request{path: escrow + "/refund", body: refundBody(40)})
		h.expectProblem(http.StatusNotFound, "escrow_not_found", request{path: nobody + "/refund", body: refundBody(40)})
		h.expectProblem(http.StatusNotFound, "escrow_not_found", request{path: nobody})
		h.expectProblem(http.StatusNotFound, "transaction_not_found", request{path: strings.Replace(nobody, "escrows", "transactions", 1)})
		h.expectProblem(http.StatusNotFound, "account_not_found", request{path: "/v1/accounts/user:nobody/balance"})
		h.expectProblem(http.StatusNotFound, "account_not_found", request{path: "/v1/accounts/user:nobody/holds", body: holdBody(1)})
		h.expectProblem(http.StatusPaymentRequired, "insufficient_funds", request{path: "/v1/accounts/model:m1/debits", body: map[string]any{"amount": 41, "reason": "payout"}})
		h.checkBalance("user:u1", 60, 0)
		h.checkBalance("model:m1", 40)
	})
}

func TestWho(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		escrow := h.hold("user:u1", 10)
		own, other := signToken(t, "user:u1", nil, ""), signToken(t, "user:u2", nil, "")
		many := signToken(t, "app", []string{"user:u2", "user:u1"}, "")

		for _, path := range []string{"balance", "entries", "events", "escrows"} {
			path = "/v1/accounts/user:u1/" + path
			h.expect(http.StatusOK, request{path: path, token: own})
			h.expect(http.StatusOK, request{path: path, token: many})
			h.expectProblem(http.StatusForbidden, "forbidden", request{path: path, token: other})
			missing := h.expectProblem(http.StatusUnauthorized, "unauthorized", request{path: path, token: "-"})
			if missing.header.Get("WWW-Authenticate") == "" {
				h.Error("401 without WWW-Authenticate")
			}
		}
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + escrow, token: own})
		h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/accounts/nonsense/balance", token: other})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/escrows/" + escrow, token: other})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/transactions/" + escrow, token: own})

		// Holding the money gives no right to settle; each scope is one right.
		hold := signToken(t, "shop", nil, "wallet:hold wallet:credit wallet:debit wallet:read")
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/escrows/" + escrow + "/settle", token: hold, body: settleBody(10)})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/escrows/" + escrow + "/refund", token: own, body: refundBody(10)})
		queue := signToken(t, "queue", nil, "wallet:settle")
		for _, call := range []string{"credits", "debits", "holds"} {
			h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/accounts/user:u1/" + call, token: queue, body: holdBody(10)})
		}
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + escrow + "/refund", token: queue, body: refundBody(10)})

		// 401 and 403 come before everything else.
		h.expectProblem(http.StatusUnauthorized, "unauthorized", request{path: "/v1/accounts/nonsense/holds", token: "x.y.z", body: "{"})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/accounts/nonsense/holds", token: own, body: "{"})
	})
}

func TestOperationHeaders(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		body := map[string]any{"amount": 5, "reason": "admin_credit"}
		const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		a := h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", body: body,
			header: map[string]string{"X-Request-Id": "req-1", "Traceparent": parent}})
		if a.header.Get("X-Request-Id") != "req-1" {
			h.Errorf("request id echoed as %q", a.header.Get("X-Request-Id"))
		}
		entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries"})
		if !strings.Contains(entries.raw, `"requestId":"req-1"`) || !strings.Contains(entries.raw, `"correlationId":"`+parent+`"`) {
			h.Errorf("entries: %s", entries.raw)
		}
		if len(entries.header.Get("X-Request-Id")) != 36 {
			h.Errorf("made-up request id %q", entries.header.Get("X-Request-Id"))
		}
	})
}
