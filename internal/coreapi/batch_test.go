package coreapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// item is an object of a body or an answer, for example one operation of a batch.
type item = map[string]any

func creditItem(key string, amount any) item {
	return item{
		"operation":      "credit",
		"idempotencyKey": key,
		"account":        "user:u1",
		"amount":         amount,
		"reason":         "admin_credit",
	}
}

func holdItem(key string, amount any) item {
	return item{
		"operation":      "hold",
		"idempotencyKey": key,
		"account":        "user:u1",
		"amount":         amount,
		"reason":         "x",
		"queueItemId":    "q",
		"featureType":    "f",
	}
}

// closeItem returns a settlement or a refund.
func closeItem(operation, key string, escrowID any, amount any) item {
	i := item{
		"operation":      operation,
		"idempotencyKey": key,
		"escrowId":       escrowID,
		"amount":         amount,
		"reason":         "x",
		"queueItemId":    "q",
	}
	if operation == "settle" {
		i["modelId"] = "m1"
	}
	return i
}

// sendBatch sends operations and returns their results.
func (h *harness) sendBatch(token string, items ...item) []item {
	h.Helper()
	a := h.expect(http.StatusOK, request{
		path:  "/v1/batch",
		token: token,
		key:   "-",
		body:  item{"operations": items},
	})
	list, _ := a.json["results"].([]any)
	if len(list) != len(items) {
		h.Fatalf("got %d results, want %d: %s", len(list), len(items), a.raw)
	}
	results := make([]item, len(list))
	for i := range list {
		results[i] = list[i].(item)
	}
	return results
}

// checkReceipt requires that a result has the status and a receipt. It returns the receipt.
func (h *harness) checkReceipt(result item, status float64) item {
	h.Helper()
	receipt, _ := result["receipt"].(item)
	if result["status"] != status || receipt == nil || result["problem"] != nil {
		h.Fatalf("got %v, want a receipt with status %v", result, status)
	}
	return receipt
}

// checkProblem requires that a result has the status and a problem with the code. It returns the
// problem.
func (h *harness) checkProblem(result item, status float64, code string) item {
	h.Helper()
	problem, _ := result["problem"].(item)
	if result["status"] != status || problem == nil || result["receipt"] != nil {
		h.Fatalf("got %v, want a problem with status %v", result, status)
	}
	h.expectFields(problem, item{"code": code, "status": status})
	return problem
}

func TestBatchItemsSucceedOrFailAlone(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		hold := holdItem("h1", 100)
		hold["expiresInSeconds"] = 60
		hold["metadata"] = item{"a": 1}
		hold["correlationId"] = "c"
		results := h.sendBatch("",
			creditItem("c1", 500),
			hold,
			holdItem("h2", 401),
			item{"operation": "debit", "idempotencyKey": "d1", "account": "user:u1", "amount": 50, "reason": "x"},
			creditItem("c2", 0),
		)

		credit := h.checkReceipt(results[0], http.StatusCreated)
		h.expectFields(credit, item{"operation": "credit", "amount": 500.0})
		h.checkReceipt(results[1], http.StatusCreated)
		funds := h.checkProblem(results[2], http.StatusPaymentRequired, "insufficient_funds")
		h.expectFields(funds, item{"availableBalance": 400.0})
		h.checkReceipt(results[3], http.StatusCreated)
		invalid := h.checkProblem(results[4], http.StatusBadRequest, "invalid_request")
		if got := h.firstPointer(invalid); got != "/operations/4/amount" {
			h.Errorf("got pointer %q, want /operations/4/amount", got)
		}
		if got := fmt.Sprint(invalid["detail"]); !strings.HasPrefix(got, "/operations/4/amount: ") {
			h.Errorf("got detail %q, want the prefix /operations/4/amount", got)
		}
		h.checkBalance("user:u1", 350, 100)
	})
}

func TestBatchReplays(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		results := h.sendBatch("", creditItem("c1", 500), holdItem("h1", 100))
		h.checkReceipt(results[0], http.StatusCreated)
		escrowID := h.checkReceipt(results[1], http.StatusCreated)["escrowId"]

		settle := closeItem("settle", "s1", escrowID, 100)
		refund := closeItem("refund", "r1", escrowID, 100)
		results = h.sendBatch("", settle, refund, settle, creditItem("c1", 500), creditItem("c1", 501))
		first := h.checkReceipt(results[0], http.StatusOK)
		h.expectFields(results[0], item{"replayed": nil})
		h.checkProblem(results[1], http.StatusConflict, "escrow_already_processed")
		again := h.checkReceipt(results[2], http.StatusOK)
		h.expectFields(results[2], item{"replayed": true})
		h.expectFields(again, item{"transactionId": first["transactionId"]})
		h.checkReceipt(results[3], http.StatusCreated)
		h.expectFields(results[3], item{"replayed": true})
		h.checkProblem(results[4], http.StatusUnprocessableEntity, "idempotency_key_reused")
		h.checkBalance("user:u1", 400, 0)
		h.checkBalance("model:m1", 100)
	})
}

func TestBatchSharesKeysWithSingleCalls(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.checkReceipt(h.sendBatch("", creditItem("c1", 500))[0], http.StatusCreated)
		single := h.expect(http.StatusCreated, request{
			path: "/v1/accounts/user:u1/credits",
			key:  "c1",
			body: item{"amount": 500, "reason": "admin_credit"},
		})
		if got := single.header.Get("Idempotent-Replayed"); got != "true" {
			h.Errorf("got Idempotent-Replayed %q, want true: %s", got, single.raw)
		}
		h.checkBalance("user:u1", 500, 0)
	})
}

// Each operation needs its own scope. The scope is checked before the fields of the operation.
func TestBatchScopes(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 10)
		hold := holdItem("h", 1)
		settle := item{"operation": "settle", "escrowId": "nonsense"}

		results := h.sendBatch(signToken(h.T, "shop", nil, "wallet:hold"),
			creditItem("c", 1), hold, settle, item{"operation": "steal"})
		h.checkProblem(results[0], http.StatusForbidden, "forbidden")
		h.checkReceipt(results[1], http.StatusCreated)
		h.checkProblem(results[2], http.StatusForbidden, "forbidden")
		h.checkProblem(results[3], http.StatusBadRequest, "invalid_request")

		results = h.sendBatch(signToken(h.T, "queue", nil, "wallet:settle"), hold, settle)
		h.checkProblem(results[0], http.StatusForbidden, "forbidden")
		h.checkProblem(results[1], http.StatusBadRequest, "invalid_request")

		h.expectProblem(http.StatusUnauthorized, "unauthorized",
			request{path: "/v1/batch", token: "-", body: item{"operations": []item{hold}}})
		h.checkBalance("user:u1", 9, 1)
	})
}

// An operation that can be decoded but is invalid fails alone.
func TestBatchInvalidItems(t *testing.T) {
	cases := []struct {
		name  string
		field string
		value any
	}{
		{"negative amount", "amount", -1},
		{"null amount", "amount", nil},
		{"large amount", "amount", 1 << 53},
		{"bad reason", "reason", "No Good"},
		{"bad account", "account", "u1"},
		{"empty key", "idempotencyKey", ""},
		{"key with a space", "idempotencyKey", "a b"},
		{"unknown operation", "operation", "steal"},
		{"null operation", "operation", nil},
		{"bad escrow", "escrowId", "nonsense"},
		{"zero escrow", "escrowId", "00000000-0000-0000-0000-000000000000"},
		{"credit with model", "modelId", "m1"},
		{"credit with queue item", "queueItemId", "q"},
		{"credit with feature", "featureType", "f"},
		{"credit with expiry", "expiresInSeconds", 0},
		{"metadata list", "metadata", []int{1}},
		{"long correlation id", "correlationId", strings.Repeat("c", 256)},
	}
	onEachDatabase(t, func(h *harness) {
		var items []item
		for _, c := range cases {
			invalid := creditItem("k-"+c.field, 1)
			invalid[c.field] = c.value
			items = append(items, invalid)
		}
		large := creditItem("k-metadata", 1)
		large["metadata"] = item{"a": strings.Repeat("m", 8<<10)}
		items = append(items, large, creditItem("good", 7))

		results := h.sendBatch("", items...)
		for i, c := range cases {
			h.runCase(c.name, func(h *harness) {
				problem := h.checkProblem(results[i], http.StatusBadRequest, "invalid_request")
				want := fmt.Sprintf("/operations/%d/%s", i, c.field)
				if got := h.firstPointer(problem); got != want {
					h.Errorf("got pointer %q, want %q", got, want)
				}
			})
		}
		h.checkProblem(results[len(cases)], http.StatusRequestEntityTooLarge, "request_too_large")
		h.checkReceipt(results[len(cases)+1], http.StatusCreated)
		h.checkBalance("user:u1", 7, 0)
	})
}

// A batch that cannot be decoded is refused as a whole, and nothing is committed.
func TestBatchInvalidBodies(t *testing.T) {
	const good = `{"operation":"credit","idempotencyKey":"k","account":"user:u1","amount":1,"reason":"x"}`
	repeat := func(text string, n int) string { return strings.TrimSuffix(strings.Repeat(text+",", n), ",") }
	second := func(text string) string { return `{"operations":[` + good + `,` + text + `]}` }
	changed := func(old, text string) string { return second(strings.Replace(good, old, text, 1)) }
	cases := map[string]struct{ body, pointer string }{
		"unknown field":             {changed("amount", "amoun"), "/operations/1/amoun"},
		"amount 1.0":                {changed(`:1,`, `:1.0,`), "/operations/1/amount"},
		"amount string":             {changed(`:1,`, `:"1",`), "/operations/1/amount"},
		"account number":            {changed(`"user:u1"`, `7`), "/operations/1/account"},
		"repeated field":            {changed(`{`, `{"amount":2,`), "/operations/1/amount"},
		"number as item":            {second(`7`), "/operations/1"},
		"null as item":              {second(`null`), "/operations/1"},
		"unfinished":                {`{"operations":[` + good + `,`, ""},
		"wrong bracket":             {`{"operations":[` + good + `]]`, ""},
		"empty list":                {`{"operations":[]}`, "/operations"},
		"null list":                 {`{"operations":null}`, "/operations"},
		"object as list":            {`{"operations":` + good + `}`, "/operations"},
		"no list":                   {`{}`, "/operations"},
		"list as body":              {`[` + good + `]`, ""},
		"1001 operations":           {`{"operations":[` + repeat(good, 1001) + `]}`, "/operations"},
		"300,000 empty operations":  {`{"operations":[` + repeat(`{}`, 300000) + `]}`, "/operations"},
		"misspelled list":           {`{"operation":[` + good + `]}`, "/operation"},
		"unknown field of the body": {`{"operations":[` + good + `],"atomic":true}`, "/atomic"},
	}
	large := `{"operations":[` + strings.Replace(good, `"x"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1) + `]}`
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1)
		for name, c := range cases {
			h.runCase(name, func(h *harness) {
				problem := h.expectInvalid(request{path: "/v1/batch", body: c.body})
				got := h.firstPointer(problem.json)
				if c.pointer != "" && got != c.pointer {
					h.Errorf("got pointer %q, want %q", got, c.pointer)
				}
			})
		}
		for name, value := range map[string]string{
			"X-Request-Id": strings.Repeat("r", 256),
			"Traceparent":  "\xff",
		} {
			h.runCase(name, func(h *harness) {
				h.expectInvalid(request{
					path:   "/v1/batch",
					body:   `{"operations":[` + good + `]}`,
					header: map[string]string{name: value},
				})
			})
		}
		for name, chunked := range map[string]bool{
			"too large":                  false,
			"too large without a length": true,
		} {
			h.runCase(name, func(h *harness) {
				h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large",
					request{path: "/v1/batch", body: large, chunked: chunked})
			})
		}
		h.checkBalance("user:u1", 1, 0)
	})
}

func TestBatchOfThousand(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		items := make([]item, 1000)
		for i := range items {
			items[i] = creditItem(fmt.Sprint("k", i), i+1)
		}
		for _, wantReplayed := range []any{nil, true} {
			for i, result := range h.sendBatch("", items...) {
				receipt := h.checkReceipt(result, http.StatusCreated)
				if got, want := receipt["amount"], float64(i+1); got != want {
					h.Fatalf("operation %d: got amount %v, want %v", i, got, want)
				}
				if got := result["replayed"]; got != wantReplayed {
					h.Fatalf("operation %d: got replayed %v, want %v", i, got, wantReplayed)
				}
			}
		}
		h.checkBalance("user:u1", 500500, 0)
	})
}

// The request id and the trace context belong to each operation. The Idempotency-Key header is
// ignored.
func TestBatchHeaders(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.expect(http.StatusOK, request{
			path:   "/v1/batch",
			key:    "k",
			body:   item{"operations": []item{creditItem("a", 1), creditItem("b", 2)}},
			header: map[string]string{"X-Request-Id": "req-1", "Traceparent": "trace-1"},
		})
		h.expect(http.StatusOK, request{
			path: "/v1/batch",
			key:  "k",
			body: item{"operations": []item{creditItem("c", 3)}},
		})
		h.checkBalance("user:u1", 6, 0)

		entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries"}).raw
		for _, text := range []string{`"requestId":"req-1"`, `"correlationId":"trace-1"`} {
			if got := strings.Count(entries, text); got != 2 {
				h.Errorf("got %s in %d entries, want 2: %s", text, got, entries)
			}
		}
	})
}
