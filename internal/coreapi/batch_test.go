package coreapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// item is one operation of a batch.
type item = map[string]any

func creditItem(key string, amount any) item {
	return item{"operation": "credit", "idempotencyKey": key, "account": "user:u1", "amount": amount, "reason": "admin_credit"}
}

// batch sends operations and returns their results.
func (h *harness) sendBatch(token string, items ...item) []item {
	h.Helper()
	a := h.expect(http.StatusOK, request{path: "/v1/batch", token: token, key: "-", body: item{"operations": items}})
	list, _ := a.json["results"].([]any)
	if len(list) != len(items) {
		h.Fatalf("%d results of %d operations: %s", len(list), len(items), a.raw)
	}
	out := make([]item, len(list))
	for i := range list {
		out[i] = list[i].(item)
	}
	return out
}

// result wants a status and, of a refusal, a code; it returns receipt or problem.
func (h *harness) checkResult(r item, status float64, code string) item {
	h.Helper()
	receipt, _ := r["receipt"].(item)
	refusal, _ := r["problem"].(item)
	if r["status"] != status || (code == "") != (receipt != nil) || (code != "") != (refusal != nil) {
		h.Fatalf("%v, want %v %s", r, status, code)
	}
	if code == "" {
		return receipt
	}
	if refusal["code"] != code || refusal["status"] != status {
		h.Errorf("%v, want %v %s", refusal, status, code)
	}
	return refusal
}

func TestBatch(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		results := h.sendBatch("",
			creditItem("c1", 500),
			item{"operation": "hold", "idempotencyKey": "h1", "account": "user:u1", "amount": 100, "reason": "x", "queueItemId": "q", "featureType": "f",
				"expiresInSeconds": 60, "metadata": item{"a": 1}, "correlationId": "c"},
			item{"operation": "hold", "idempotencyKey": "h2", "account": "user:u1", "amount": 401, "reason": "x", "queueItemId": "q", "featureType": "f"},
			item{"operation": "debit", "idempotencyKey": "d1", "account": "user:u1", "amount": 50, "reason": "x"},
			creditItem("c2", 0),
		)
		if r := h.checkResult(results[0], 201, ""); r["operation"] != "credit" || r["amount"] != 500.0 {
			h.Errorf("credit: %v", r)
		}
		hold := h.checkResult(results[1], 201, "")
		if p := h.checkResult(results[2], 402, "insufficient_funds"); p["availableBalance"] != 400.0 {
			h.Errorf("problem: %v", p)
		}
		h.checkResult(results[3], 201, "")
		p := h.checkResult(results[4], 400, "invalid_request")
		if first := p["errors"].([]any)[0].(item); first["pointer"] != "/operations/4/amount" || !strings.HasPrefix(fmt.Sprint(p["detail"]), "/operations/4/amount: ") {
			h.Errorf("problem: %v", p)
		}
		h.checkBalance("user:u1", 350, 100)

		settle := item{"operation": "settle", "idempotencyKey": "s1", "escrowId": hold["escrowId"], "modelId": "m1", "amount": 100, "reason": "x", "queueItemId": "q"}
		late := item{"operation": "refund", "idempotencyKey": "r1", "escrowId": hold["escrowId"], "amount": 100, "reason": "x", "queueItemId": "q"}
		results = h.sendBatch("", settle, late, settle, creditItem("c1", 500), creditItem("c1", 501))
		first := h.checkResult(results[0], 200, "")
		h.checkResult(results[1], 409, "escrow_already_processed")
		again := h.checkResult(results[2], 200, "")
		if results[2]["replayed"] != true || results[0]["replayed"] != nil || again["transactionId"] != first["transactionId"] {
			h.Errorf("first %v, again %v", results[0], results[2])
		}
		h.checkResult(results[3], 201, "")
		if results[3]["replayed"] != true {
			h.Errorf("repeat of an earlier batch: %v", results[3])
		}
		h.checkResult(results[4], 422, "idempotency_key_reused")
		// The single calls share the keys.
		single := h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", key: "c1", body: item{"amount": 500, "reason": "admin_credit"}})
		if single.header.Get("Idempotent-Replayed") != "true" {
			h.Errorf("the single call did it again: %s", single.raw)
		}
		h.checkBalance("user:u1", 350, 0)
		h.checkBalance("model:m1", 100)
	})
}

// Each operation needs its own scope; refusals come before anything else about it.
func TestBatchScopes(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		hold := item{"operation": "hold", "idempotencyKey": "h", "account": "user:u1", "amount": 1, "reason": "x", "queueItemId": "q", "featureType": "f"}
		settle := item{"operation": "settle", "escrowId": "nonsense"}
		h.credit("user:u1", 10)
		results := h.sendBatch(signToken(t, "shop", nil, "wallet:hold"), creditItem("c", 1), hold, settle, item{"operation": "steal"})
		h.checkResult(results[0], 403, "forbidden")
		h.checkResult(results[1], 201, "")
		h.checkResult(results[2], 403, "forbidden")
		h.checkResult(results[3], 400, "invalid_request")
		results = h.sendBatch(signToken(t, "queue", nil, "wallet:settle"), hold, settle)
		h.checkResult(results[0], 403, "forbidden")
		h.checkResult(results[1], 400, "invalid_request")
		h.expectProblem(http.StatusUnauthorized, "unauthorized", request{path: "/v1/batch", token: "-", body: item{"operations": []item{hold}}})
		h.checkBalance("user:u1", 9, 1)
	})
}

// What is understood and wrong is refused alone.
func TestBatchBadItems(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		change := func(field string, value any) item {
			i := creditItem("k-"+field, 1)
			i[field] = value
			return i
		}
		var items []item
		for _, c := range []struct {
			field string
			value any
		}{
			{"amount", -1}, {"amount", nil}, {"amount", 1 << 53}, {"reason", "No Good"}, {"account", "u1"}, {"idempotencyKey", ""}, {"idempotencyKey", "a b"},
			{"operation", "steal"}, {"operation", nil}, {"escrowId", "nonsense"}, {"escrowId", "00000000-0000-0000-0000-000000000000"},
			{"modelId", "m1"}, {"queueItemId", "q"}, {"featureType", "f"}, {"expiresInSeconds", 0}, {"metadata", []int{1}},
			{"correlationId", strings.Repeat("c", 256)},
		} {
			items = append(items, change(c.field, c.value))
		}
		names := []string{"amount", "amount", "amount", "reason", "account", "idempotencyKey", "idempotencyKey", "operation", "operation", "escrowId", "escrowId",
			"modelId", "queueItemId", "featureType", "expiresInSeconds", "metadata", "correlationId"}
		items = append(items, change("metadata", item{"a": strings.Repeat("m", 8<<10)}), creditItem("good", 7))
		results := h.sendBatch("", items...)
		for i, name := range names {
			p := h.checkResult(results[i], 400, "invalid_request")
			if first := p["errors"].([]any)[0].(item); first["pointer"] != fmt.Sprintf("/operations/%d/%s", i, name) {
				h.Errorf("%s: %v", name, p)
			}
		}
		h.checkResult(results[len(names)], 413, "request_too_large")
		h.checkResult(results[len(names)+1], 201, "")
		h.checkBalance("user:u1", 7, 0)
	})
}

// What cannot be understood is refused as a whole, and nothing is done.
func TestBatchBadBodies(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1)
		good := `{"operation":"credit","idempotencyKey":"k","account":"user:u1","amount":1,"reason":"x"}`
		many := strings.TrimSuffix(strings.Repeat(good+",", 1001), ",")
		for _, c := range []struct{ body, pointer string }{
			{`{"operations":[` + good + `,` + strings.Replace(good, "amount", "amoun", 1) + `]}`, "/operations/1/amoun"},
			{`{"operations":[` + good + `,` + strings.Replace(good, `:1,`, `:1.0,`, 1) + `]}`, "/operations/1/amount"},
			{`{"operations":[` + good + `,` + strings.Replace(good, `:1,`, `:"1",`, 1) + `]}`, "/operations/1/amount"},
			{`{"operations":[` + good + `,` + strings.Replace(good, `"user:u1"`, `7`, 1) + `]}`, "/operations/1/account"},
			{`{"operations":[` + good + `,` + strings.Replace(good, `{`, `{"amount":2,`, 1) + `]}`, "/operations/1/amount"},
			{`{"operations":[` + good + `,7]}`, "/operations/1"},
			{`{"operations":[` + good + `,null]}`, "/operations/1"},
			{`{"operations":[` + good + `,`, ""},
			{`{"operations":[` + good + `]]`, ""},
			{`{"operations":[]}`, "/operations"},
			{`{"operations":null}`, "/operations"},
			{`{"operations":` + good + `}`, "/operations"},
			{`{}`, "/operations"},
			{`[` + good + `]`, ""},
			{`{"operations":[` + many + `]}`, "/operations"},
			{`{"operations":[` + strings.TrimSuffix(strings.Repeat("{},", 300000), ",") + `]}`, "/operations"},
			{`{"operation":[` + good + `]}`, "/operation"},
			{`{"operations":[` + good + `],"atomic":true}`, "/atomic"},
		} {
			a := h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/batch", body: c.body})
			if first := a.json["errors"].([]any)[0].(item); c.pointer != "" && first["pointer"] != c.pointer {
				h.Errorf("%.120s: pointer %v, want %s", c.body, first["pointer"], c.pointer)
			}
		}
		for name, value := range map[string]string{"X-Request-Id": strings.Repeat("r", 256), "Traceparent": "\xff"} {
			h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/batch", body: `{"operations":[` + good + `]}`, header: map[string]string{name: value}})
		}
		large := `{"operations":[` + strings.Replace(good, `"x"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1) + `]}`
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: "/v1/batch", body: large})
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: "/v1/batch", body: large, chunked: true})
		h.checkBalance("user:u1", 1, 0)
	})
}

func TestBatchOfThousand(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		items := make([]item, 1000)
		for i := range items {
			items[i] = creditItem(fmt.Sprint("k", i), i+1)
		}
		for round := range 2 { // the second time, everything is replayed
			for i, r := range h.sendBatch("", items...) {
				if receipt := h.checkResult(r, 201, ""); receipt["amount"] != float64(i+1) || (r["replayed"] == true) != (round == 1) {
					h.Fatalf("round %d, operation %d: %v", round, i, r)
				}
			}
		}
		h.checkBalance("user:u1", 500500, 0)
	})
}

// The request's id and trace go with every operation; a key in the header means nothing.
func TestBatchHeaders(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.expect(http.StatusOK, request{path: "/v1/batch", key: "k", body: item{"operations": []item{creditItem("a", 1), creditItem("b", 2)}},
			header: map[string]string{"X-Request-Id": "req-1", "Traceparent": "trace-1"}})
		h.expect(http.StatusOK, request{path: "/v1/batch", key: "k", body: item{"operations": []item{creditItem("c", 3)}}})
		h.checkBalance("user:u1", 6, 0)
		entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries"}).raw
		if strings.Count(entries, `"requestId":"req-1"`) != 2 || strings.Count(entries, `"correlationId":"trace-1"`) != 2 {
			h.Errorf("entries: %s", entries)
		}
	})
}
