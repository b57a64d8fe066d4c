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

func TestOperationsChangeBalances(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		credit := h.credit("user:u1", 500).json
		h.expectFields(credit, item{"operation": "credit", "amount": 500.0, "escrowId": nil})
		h.checkBalance("user:u1", 500, 0)

		settled := h.hold("user:u1", 100)
		refunded := h.hold("user:u1", 50)
		split := h.hold("user:u1", 30)
		h.checkBalance("user:u1", 320, 180)

		receipt := h.expect(http.StatusOK, request{path: "/v1/escrows/" + settled + "/settle", body: settleBody(100)})
		h.expectFields(receipt.json, item{"operation": "settle", "escrowId": settled})
		balances, _ := receipt.json["balances"].([]any)
		if len(balances) != 2 {
			h.Errorf("got %d balances in the receipt, want 2: %s", len(balances), receipt.raw)
		}

		h.expect(http.StatusOK, request{path: "/v1/escrows/" + refunded + "/refund", body: refundBody(50)})
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + split + "/partial-settle", body: partialSettleBody(10, 20)})
		h.expect(http.StatusCreated, request{path: "/v1/accounts/model:m1/debits", body: item{"amount": 7, "reason": "payout"}})
		h.checkBalance("user:u1", 380, 0)
		h.checkBalance("model:m1", 113)
	})
}

func partialSettleBody(refund, settle int) item {
	return item{
		"modelId":      "m1",
		"refundAmount": refund,
		"settleAmount": settle,
		"reason":       "partial_performance",
		"queueItemId":  "queue-1",
	}
}

func TestGetTransaction(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		escrow := h.hold("user:u1", 100)
		receipt := h.expect(http.StatusOK, request{path: "/v1/escrows/" + escrow + "/settle", body: settleBody(100)}).json

		transaction := h.expect(http.StatusOK, request{path: fmt.Sprint("/v1/transactions/", receipt["transactionId"])}).json
		h.expectFields(transaction, item{"operation": "settle", "amount": 100.0})
		entries, _ := transaction["entries"].([]any)
		if len(entries) < 2 {
			h.Errorf("got %d entries, want at least 2", len(entries))
		}
		sum := 0.0
		for _, e := range entries {
			sum += e.(item)["amount"].(float64)
		}
		if sum != 0 {
			h.Errorf("got entries with the sum %v, want 0", sum)
		}
	})
}

func TestEscrowsShowTheirState(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		split := h.hold("user:u1", 30)
		refunded := h.hold("user:u1", 50)
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + split + "/partial-settle", body: partialSettleBody(10, 20)})
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + refunded + "/refund", body: refundBody(50)})

		escrow := h.expect(http.StatusOK, request{path: "/v1/escrows/" + split}).json
		h.expectFields(escrow, item{
			"status":       "partially_settled",
			"userId":       "u1",
			"modelId":      "m1",
			"amount":       30.0,
			"refundAmount": 10.0,
			"settleAmount": 20.0,
		})

		for query, want := range map[string]int{
			"":                 2,
			"?status=held":     0,
			"?status=refunded": 1,
		} {
			list, _ := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/escrows" + query}).json["escrows"].([]any)
			if len(list) != want {
				h.Errorf("query %q: got %d escrows, want %d", query, len(list), want)
			}
		}
	})
}

func TestListEvents(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 500)
		settled := h.hold("user:u1", 100)
		refunded := h.hold("user:u1", 50)
		split := h.hold("user:u1", 30)
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + settled + "/settle", body: settleBody(100)})
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + refunded + "/refund", body: refundBody(50)})
		h.expect(http.StatusOK, request{path: "/v1/escrows/" + split + "/partial-settle", body: partialSettleBody(10, 20)})

		events := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/events?after=1&limit=2"})
		page, _ := events.json["events"].([]any)
		if len(page) != 2 {
			h.Fatalf("got %d events, want 2: %s", len(page), events.raw)
		}
		h.expectFields(page[0].(item), item{"seq": 2.0, "account": "user:u1"})
		updates, err := h.ledger.UpdatesAfter(h.Context(), "user:u1", 1, 1)
		if err != nil {
			h.Fatal(err)
		}
		for i := range page {
			h.expectFields(page[i].(item), item{"chain": updates[0].Deliveries[i].Chain.String()})
		}
		balance := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/balance"})
		position, err := h.ledger.Positions(h.Context(), []string{"user:u1"})
		if err != nil {
			h.Fatal(err)
		}
		h.expectFields(balance.json, item{"seq": 18.0, "chain": position[0].Chain.String()})
		// The credit has 1 event, each of 3 holds has 3, the settlement 2, the refund 3, the partial
		// settlement 3.
		h.expectFields(events.json, item{"last": 18.0})
	})
}

func TestEntriesPaging(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for range 5 {
			h.credit("user:u1", 10)
		}
		var seqs []float64
		path := "/v1/accounts/user:u1/entries?limit=2"
		for before := ""; ; {
			page := h.expect(http.StatusOK, request{path: path + before}).json
			entries, _ := page["entries"].([]any)
			for _, e := range entries {
				seqs = append(seqs, e.(item)["seq"].(float64))
			}
			next, hasNext := page["next"].(string)
			if !hasNext {
				break
			}
			before = "&before=" + next
		}
		if got := fmt.Sprint(seqs); got != "[5 4 3 2 1]" {
			h.Errorf("got entries with the seqs %s, want [5 4 3 2 1]", got)
		}

		none := h.expect(http.StatusOK, request{path: path + "&reason=payout&from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z"})
		if want := `{"entries":[]}` + "\n"; none.raw != want {
			h.Errorf("got %s for a filter without matches, want %s", none.raw, want)
		}
	})
}

func TestBalanceAsOf(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		balanceAt := func(h *harness, when string) item {
			h.Helper()
			path := "/v1/accounts/user:u1/balance?asOf=" + url.QueryEscape(when)
			return h.expect(http.StatusOK, request{path: path}).json
		}
		first, firstTime := creditAt(h)
		for last := firstTime; !last.After(firstTime); { // until a credit has another millisecond
			_, last = creditAt(h)
		}
		now := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/balance"}).json
		atFirst := balanceAt(h, first)

		h.runCase("future", func(h *harness) {
			got := balanceAt(h, "2999-12-31T23:59:59Z")
			if !reflect.DeepEqual(got, now) {
				h.Errorf("got %v, want %v", got, now)
			}
		})
		h.runCase("first credit", func(h *harness) {
			h.expectFields(atFirst, item{"lastUpdated": first})
			if atFirst["availableBalance"] == now["availableBalance"] {
				h.Errorf("got the current balance %v, want an older one", now["availableBalance"])
			}
		})
		h.runCase("other time zone", func(h *harness) {
			got := balanceAt(h, firstTime.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano))
			if !reflect.DeepEqual(got, atFirst) {
				h.Errorf("got %v, want %v", got, atFirst)
			}
		})
		for name, when := range map[string]string{
			"before first credit": firstTime.Add(-time.Millisecond).Format(time.RFC3339Nano),
			"before 1970":         "1969-12-31T23:59:59Z",
			"zero time":           "0001-01-01T00:00:00Z",
		} {
			h.runCase(name, func(h *harness) {
				h.expectFields(balanceAt(h, when), item{"availableBalance": 0.0, "seq": 0.0})
			})
		}
		h.runCase("unknown account", func(h *harness) {
			h.expectProblem(http.StatusNotFound, "account_not_found",
				request{path: "/v1/accounts/user:nobody/balance?asOf=2026-01-01T00:00:00Z"})
		})
		h.runCase("other user", func(h *harness) {
			h.expectProblem(http.StatusForbidden, "forbidden",
				request{path: "/v1/accounts/user:u1/balance?asOf=nonsense", token: signToken(h.T, "user:u2", nil, "")})
		})
	})
}

// creditAt credits 10 points and returns the timestamp of the receipt.
func creditAt(h *harness) (string, time.Time) {
	h.Helper()
	text, _ := h.credit("user:u1", 10).json["timestamp"].(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		h.Fatal(err)
	}
	return text, at
}

func TestRetryReturnsFirstAnswer(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		credit := request{
			path: "/v1/accounts/user:u1/credits",
			key:  "k",
			body: item{"amount": 5, "reason": "admin_credit"},
		}
		first := h.expect(http.StatusCreated, credit)
		if got := first.header.Get("Idempotent-Replayed"); got != "" {
			h.Errorf("first answer: got Idempotent-Replayed %q, want none", got)
		}

		retry := credit
		retry.header = map[string]string{"X-Request-Id": "other"}
		again := h.expect(http.StatusCreated, retry)
		if again.raw != first.raw {
			h.Errorf("got %s, want the first answer %s", again.raw, first.raw)
		}
		if got := again.header.Get("Idempotent-Replayed"); got != "true" {
			h.Errorf("second answer: got Idempotent-Replayed %q, want true", got)
		}

		other := credit
		other.body = item{"amount": 6, "reason": "admin_credit"}
		h.expectProblem(http.StatusUnprocessableEntity, "idempotency_key_reused", other)
	})
}

func TestRefusedOperationDoesNotUseKey(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 5)
		hold := request{path: "/v1/accounts/user:u1/holds", key: "h", body: holdBody(50)}
		problem := h.expectProblem(http.StatusPaymentRequired, "insufficient_funds", hold)
		h.expectFields(problem.json, item{"availableBalance": 5.0, "requestedAmount": 50.0})

		h.credit("user:u1", 100)
		h.expect(http.StatusCreated, hold)
		h.checkBalance("user:u1", 55, 50)
	})
}

func TestLedgerRefusals(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const unknownID = "01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a"
		h.credit("user:u1", 100)
		held := "/v1/escrows/" + h.hold("user:u1", 10)
		settled := "/v1/escrows/" + h.hold("user:u1", 40)
		h.expect(http.StatusOK, request{path: settled + "/settle", body: settleBody(40)})

		for name, c := range map[string]struct {
			status int
			code   string
			request
			members item
		}{
			"settle too little": {http.StatusUnprocessableEntity, "amount_mismatch",
				request{path: held + "/settle", body: settleBody(9)}, item{"escrowAmount": 10.0, "requestedAmount": 9.0}},
			"refund too much": {http.StatusUnprocessableEntity, "amount_mismatch",
				request{path: held + "/refund", body: refundBody(11)}, item{"escrowAmount": 10.0, "requestedAmount": 11.0}},
			"settle twice": {http.StatusConflict, "escrow_already_processed",
				request{path: settled + "/settle", body: settleBody(40)}, item{"escrowStatus": "settled"}},
			"refund settled escrow": {http.StatusConflict, "escrow_already_processed",
				request{path: settled + "/refund", body: refundBody(40)}, item{"escrowStatus": "settled"}},
			"refund unknown escrow": {http.StatusNotFound, "escrow_not_found",
				request{path: "/v1/escrows/" + unknownID + "/refund", body: refundBody(40)}, nil},
			"read unknown escrow": {http.StatusNotFound, "escrow_not_found",
				request{path: "/v1/escrows/" + unknownID}, nil},
			"read unknown transaction": {http.StatusNotFound, "transaction_not_found",
				request{path: "/v1/transactions/" + unknownID}, nil},
			"read unknown account": {http.StatusNotFound, "account_not_found",
				request{path: "/v1/accounts/user:nobody/balance"}, nil},
			"hold on unknown account": {http.StatusNotFound, "account_not_found",
				request{path: "/v1/accounts/user:nobody/holds", body: holdBody(1)}, nil},
			"pay out too much": {http.StatusPaymentRequired, "insufficient_funds",
				request{path: "/v1/accounts/model:m1/debits", body: item{"amount": 41, "reason": "payout"}}, item{"earnedBalance": 40.0}},
		} {
			h.runCase(name, func(h *harness) {
				problem := h.expectProblem(c.status, c.code, c.request)
				h.expectFields(problem.json, c.members)
			})
		}
		h.checkBalance("user:u1", 50, 10)
		h.checkBalance("model:m1", 40)
	})
}

func TestReadersOfAccount(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		own := signToken(t, "user:u1", nil, "")
		several := signToken(t, "app", []string{"user:u2", "user:u1"}, "")
		other := signToken(t, "user:u2", nil, "")
		for _, call := range []string{"balance", "entries", "events", "escrows"} {
			h.runCase(call, func(h *harness) {
				path := "/v1/accounts/user:u1/" + call
				h.expect(http.StatusOK, request{path: path, token: own})
				h.expect(http.StatusOK, request{path: path, token: several})
				h.expectProblem(http.StatusForbidden, "forbidden", request{path: path, token: other})
				missing := h.expectProblem(http.StatusUnauthorized, "unauthorized", request{path: path, token: "-"})
				if missing.header.Get("WWW-Authenticate") == "" {
					h.Error("got 401 without WWW-Authenticate")
				}
			})
		}
	})
}

func TestReadersOfEscrowAndTransaction(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		escrow := h.hold("user:u1", 10)
		own := signToken(t, "user:u1", nil, "")
		other := signToken(t, "user:u2", nil, "")

		h.expect(http.StatusOK, request{path: "/v1/escrows/" + escrow, token: own})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/escrows/" + escrow, token: other})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/transactions/" + escrow, token: own})
	})
}

func TestEachOperationNeedsItsScope(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		escrow := "/v1/escrows/" + h.hold("user:u1", 10)
		own := signToken(t, "user:u1", nil, "")
		withoutSettle := signToken(t, "shop", nil, "wallet:hold wallet:credit wallet:debit wallet:read")
		onlySettle := signToken(t, "queue", nil, "wallet:settle")

		h.expectProblem(http.StatusForbidden, "forbidden", request{path: escrow + "/settle", token: withoutSettle, body: settleBody(10)})
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: escrow + "/refund", token: own, body: refundBody(10)})
		for _, call := range []string{"credits", "debits", "holds"} {
			h.expectProblem(http.StatusForbidden, "forbidden",
				request{path: "/v1/accounts/user:u1/" + call, token: onlySettle, body: holdBody(10)})
		}
		h.expect(http.StatusOK, request{path: escrow + "/refund", token: onlySettle, body: refundBody(10)})
	})
}

// The token and its scope are checked before the path and the body.
func TestOrderOfChecks(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		own := signToken(t, "user:u1", nil, "")
		malformed := request{path: "/v1/accounts/nonsense/holds", body: "{"}

		malformed.token = "x.y.z"
		h.expectProblem(http.StatusUnauthorized, "unauthorized", malformed)
		malformed.token = own
		h.expectProblem(http.StatusForbidden, "forbidden", malformed)
		h.expectInvalid(request{path: "/v1/accounts/nonsense/balance", token: own})
	})
}

func TestOperationHeaders(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		credit := h.expect(http.StatusCreated, request{
			path:   "/v1/accounts/user:u1/credits",
			body:   item{"amount": 5, "reason": "admin_credit"},
			header: map[string]string{"X-Request-Id": "req-1", "Traceparent": parent},
		})
		if got := credit.header.Get("X-Request-Id"); got != "req-1" {
			h.Errorf("got request id %q, want req-1", got)
		}

		entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries"})
		for _, want := range []string{`"requestId":"req-1"`, `"correlationId":"` + parent + `"`} {
			if !strings.Contains(entries.raw, want) {
				h.Errorf("got entries %s, want them to contain %s", entries.raw, want)
			}
		}
		if got := entries.header.Get("X-Request-Id"); len(got) != 36 {
			h.Errorf("got generated request id %q, want a UUID", got)
		}
	})
}
