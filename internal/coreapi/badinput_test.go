package coreapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestBadBodies(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		const valid = `"reason":"x","queueItemId":"q","featureType":"f"`
		for name, c := range map[string]struct{ body, pointer string }{
			"amount 0":           {`{"amount":0,` + valid + `}`, "/amount"},
			"amount -1":          {`{"amount":-1,` + valid + `}`, "/amount"},
			"amount 1.5":         {`{"amount":1.5,` + valid + `}`, "/amount"},
			"amount 1.0":         {`{"amount":1.0,` + valid + `}`, "/amount"},
			"amount 1e3":         {`{"amount":1e3,` + valid + `}`, "/amount"},
			"amount string":      {`{"amount":"1",` + valid + `}`, "/amount"},
			"amount 2^53":        {`{"amount":9007199254740992,` + valid + `}`, "/amount"},
			"amount 2^64":        {`{"amount":18446744073709551616,` + valid + `}`, "/amount"},
			"amount null":        {`{"amount":null,` + valid + `}`, "/amount"},
			"amount absent":      {`{` + valid + `}`, "/amount"},
			"amount true":        {`{"amount":true,` + valid + `}`, "/amount"},
			"amount list":        {`{"amount":[1],` + valid + `}`, "/amount"},
			"unknown field":      {`{"amount":1,"amuont":2,` + valid + `}`, "/amuont"},
			"capitals":           {`{"Amount":1,` + valid + `}`, "/Amount"},
			"twice":              {`{"amount":1,"amount":2,` + valid + `}`, "/amount"},
			"a field of another": {`{"amount":1,"modelId":"m",` + valid + `}`, "/modelId"},
			"empty":              {``, ""},
			"no JSON":            {`{"amount":1`, ""},
			"two values":         {`{"amount":1,` + valid + `}{}`, ""},
			"list":               {`[]`, ""},
			"string":             {`"x"`, ""},
			"null":               {`null`, ""},
			"bad UTF-8":          {"{\"amount\":1,\"reason\":\"\xff\",\"queueItemId\":\"q\",\"featureType\":\"f\"}", "/reason"},
			"reason":             {`{"amount":1,"reason":"No Good","queueItemId":"q","featureType":"f"}`, "/reason"},
			"no queue item":      {`{"amount":1,"reason":"x","featureType":"f"}`, "/queueItemId"},
			"long feature":       {`{"amount":1,"reason":"x","queueItemId":"q","featureType":"` + strings.Repeat("f", 65) + `"}`, "/featureType"},
			"NUL":                {`{"amount":1,"reason":"x","queueItemId":"q\u0000","featureType":"f"}`, "/queueItemId"},
			"expires 0":          {`{"amount":1,"expiresInSeconds":0,` + valid + `}`, "/expiresInSeconds"},
			"expires too late":   {`{"amount":1,"expiresInSeconds":31536001,` + valid + `}`, "/expiresInSeconds"},
			"expires overflow":   {`{"amount":1,"expiresInSeconds":9223372036854775807,` + valid + `}`, "/expiresInSeconds"},
			"metadata list":      {`{"amount":1,"metadata":[1],` + valid + `}`, "/metadata"},
			"metadata string":    {`{"amount":1,"metadata":"x",` + valid + `}`, "/metadata"},
			"correlation id":     {`{"amount":1,"correlationId":"` + strings.Repeat("c", 256) + `",` + valid + `}`, "/correlationId"},
			"deep":               {`{"amount":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `,` + valid + `}`, ""},
		} {
			a := h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/accounts/user:u1/holds", body: c.body})
			errs, _ := a.json["errors"].([]any)
			if len(errs) == 0 {
				h.Errorf("%s: no errors: %s", name, a.raw)
				continue
			}
			if first := errs[0].(map[string]any); c.pointer != "" && first["pointer"] != c.pointer {
				h.Errorf("%s: pointer %v, want %s", name, first["pointer"], c.pointer)
			}
		}
		h.checkBalance("user:u1", 100, 0)
	})
}

func TestBadRequests(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		good := `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f"}`
		holds := "/v1/accounts/user:u1/holds"
		bad := func(r request) { h.Helper(); h.expectProblem(http.StatusBadRequest, "invalid_request", r) }

		for _, account := range []string{"user:a:b", "user:{1}", "user:a b", "user:", "u1", "admin:u1", "system:issuance", "user:" + strings.Repeat("x", 129),
			"user:a/b", "user:..", "user:ü", "user:a\n", "user:a\x00", "model:m1"} {
			bad(request{path: "/v1/accounts/" + url.PathEscape(account) + "/holds", body: good})
			if account != "model:m1" {
				bad(request{path: "/v1/accounts/" + url.PathEscape(account) + "/balance"})
			}
		}
		bad(request{path: holds, body: good, key: "-"})
		bad(request{path: holds, body: good, key: strings.Repeat("k", 256)})
		bad(request{path: holds, body: good, key: "kü"})
		bad(request{path: holds, body: good, header: map[string]string{"X-Request-Id": strings.Repeat("r", 256)}})
		bad(request{path: holds, body: good, header: map[string]string{"Traceparent": strings.Repeat("t", 256)}})
		bad(request{path: holds, body: good, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
		bad(request{path: holds, body: good, header: map[string]string{"Content-Type": "application/json; charset=latin1"}})
		for _, coding := range []string{"gzip", "br", "identity, gzip"} {
			bad(request{path: holds, body: good, header: map[string]string{"Content-Encoding": coding}})
			bad(request{path: "/v1/batch", body: good, header: map[string]string{"Content-Encoding": coding}})
		}
		bad(request{path: holds, method: http.MethodPost})
		bad(request{path: holds + "?amount=2", body: good}) // what is to be done stands in the body alone
		bad(request{path: "/v1/batch?atomic=true", body: map[string]any{"operations": []any{map[string]any{
			"operation": "credit", "idempotencyKey": "k", "account": "user:u1", "amount": 1, "reason": "x",
		}}}})
		for _, id := range []string{"x", "01936f5e7c1a7b3e9f003a5d8f0c1b2a", "%7B01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a%7D", "00000000-0000-0000-0000-000000000000"} {
			bad(request{path: "/v1/escrows/" + id + "/refund", body: refundBody(1)})
		}
		bad(request{path: "/v1/escrows/nonsense"})
		bad(request{path: "/v1/transactions/nonsense"})
		for _, modelID := range []string{"", "user:u1", "a b", "model:", "system:payout"} {
			body := settleBody(1)
			body["modelId"] = modelID
			bad(request{path: "/v1/escrows/01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a/settle", body: body})
		}
		for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=%2B1", "limit=01", "limit=-0", "limit=1&limit=2", "Limit=1", "before=nonsense", "reason=DROP", "from=yesterday", "asOf=2026-01-01T00:00:00Z", "%zz"} {
			bad(request{path: "/v1/accounts/user:u1/entries?" + query})
		}
		for _, query := range []string{"after=-1", "after=00", "after=-0", "after=1.5", "after=9007199254740992", "limit=0"} {
			bad(request{path: "/v1/accounts/user:u1/events?" + query})
		}
		bad(request{path: "/v1/accounts/user:u1/escrows?status=open"})
		bad(request{path: "/v1/accounts/model:m1/escrows"})
		bad(request{path: "/v1/accounts/user:u1/balance?x=1"})
		for _, asOf := range []string{"yesterday", "2026-11-23", "2026-11-23T19:02:58", "1795460578", "2026-11-23T19:02:58Z&asOf=2026-11-23T19:02:58Z"} {
			bad(request{path: "/v1/accounts/user:u1/balance?asOf=" + asOf})
		}
		h.checkBalance("user:u1", 100, 0)
	})
}

// Of two, nobody could tell which one counts.
func TestHeadersGivenTwice(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		for name, values := range map[string][]string{
			"Authorization": {"Bearer " + h.token, "Bearer x"}, "Content-Type": {"application/json", "text/plain"}, "Content-Encoding": {"identity", "gzip"},
			"Idempotency-Key": {"k1", "k2"}, "X-Request-Id": {"r1", "r2"}, "Traceparent": {traceParent, traceParent},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/accounts/user:u1/holds",
				strings.NewReader(`{"amount":1,"reason":"x","queueItemId":"q","featureType":"f"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Authorization": {"Bearer " + h.token}, "Idempotency-Key": {"k"}}
			req.Header[name] = values
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("two of %s: %d", name, resp.StatusCode)
			}
			_ = resp.Body.Close()
		}
		h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/holds", body: holdBody(1), header: map[string]string{"Content-Encoding": "Identity"}})
		h.checkBalance("user:u1", 99, 1)
	})
}

func TestTooLarge(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		holds := "/v1/accounts/user:u1/holds"
		large := `{"amount":1,"reason":"x","queueItemId":"` + strings.Repeat("q", 2<<20) + `","featureType":"f"}`
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: holds, body: large})
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: holds, body: large, chunked: true})
		body := holdBody(1)
		body["metadata"] = map[string]any{"a": strings.Repeat("m", 8<<10)}
		h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: holds, body: body})
		body["metadata"] = map[string]any{"a": strings.Repeat("m", 8<<10-8)}
		h.expect(http.StatusCreated, request{path: holds, body: body, chunked: true})
		for _, depth := range []int{11000, 20000} { // no JSON reader goes so far
			h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", request{path: holds, body: fmt.Sprintf(
				`{"amount":1,"reason":"x","queueItemId":"q","featureType":"f","metadata":%s{}%s}`, strings.Repeat(`{"":`, depth), strings.Repeat(`}`, depth))})
		}
		h.checkBalance("user:u1", 99, 1)
	})
}

// What a client sends does not come back in full.
func TestLongPointersAreCut(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		name := strings.Repeat("ö~", 100000)
		for body, begin := range map[string]string{
			`{"` + name + `":1}`:                                                         "/ö~0ö~0",
			`{"metadata":{"` + name[:3000] + `":"\ud800"}}`:                              "/metadata/ö~0ö~0",
			`{"amount":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}`: "/amount",
			`{"operations":[{"` + name + `":1}]}`:                                        "/operations/0/ö~0ö~0",
		} {
			path := "/v1/accounts/user:u1/holds"
			if strings.HasPrefix(body, `{"op`) {
				path = "/v1/batch"
			}
			a := h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: path, body: body})
			pointer, _ := a.json["errors"].([]any)[0].(map[string]any)["pointer"].(string)
			if len(pointer) > 200+len("…") || !strings.HasPrefix(pointer, begin) || len(a.raw) > 1000 || strings.Contains(pointer, "\ufffd") {
				t.Errorf("%d bytes, pointer %q", len(a.raw), pointer)
			}
		}
		a := h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/accounts/user:u1/entries?" + strings.Repeat("x", 10000) + "=1"})
		if len(a.raw) > 1000 {
			t.Errorf("%d bytes for a long parameter", len(a.raw))
		}
	})
}

func TestPaths(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for _, path := range []string{"/", "/v1", "/v1/nothing", "//v1/accounts/user:u1/holds", "/v1//accounts/user:u1/holds", "/v1/accounts/../accounts/user:u1/holds",
			"/v1/./accounts/user:u1/holds", "/v1/accounts/user:u1/holds/", "/v1/accounts/user:u1/holds/.."} {
			h.expectProblem(http.StatusNotFound, "not_found", request{path: path, body: "{}"})
			h.expectProblem(http.StatusNotFound, "not_found", request{path: path})
			if a := h.send(request{path: path, header: map[string]string{"X-Request-Id": "req-1"}}); a.header.Get("X-Request-Id") != "req-1" {
				h.Errorf("%s: request id %q", path, a.header.Get("X-Request-Id"))
			}
		}
		a := h.expectProblem(http.StatusMethodNotAllowed, "method_not_allowed", request{path: "/v1/accounts/user:u1/holds"})
		if a.header.Get("Allow") != "POST" {
			h.Errorf("Allow: %q", a.header.Get("Allow"))
		}
		if len(a.header.Get("X-Request-Id")) != 36 {
			h.Errorf("made-up request id %q", a.header.Get("X-Request-Id"))
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, "PROPFIND"} {
			h.expectProblem(http.StatusMethodNotAllowed, "method_not_allowed", request{method: method, path: "/v1/accounts/user:u1/balance"})
		}
	})
}

// Whatever means something to SQL, Redis, JSON or HTML is only text here.
func TestMetacharacters(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1000)
		h.credit("user:O.K._~@-1", 5)
		nasty := []string{
			`'; DROP TABLE entries; --`, `" OR 1=1`, `\'\\`, `$1`, `%s%d`, `{0}:events`, `*`, `?`, `EVAL "x" 0`, `<script>alert(1)</script>`,
			`{{.}}`, `null`, `ünïcödé ✓ 💎`, `\u0041`, `a,b,{c},"d"`, `&amp;`, " ", "\u2028",
		}
		for i, s := range nasty {
			body := holdBody(1)
			body["queueItemId"], body["featureType"], body["correlationId"] = s, s, s
			body["metadata"] = map[string]any{s: s}
			key := fmt.Sprintf("k%d'\";--{}$1\\", i)
			h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/holds", key: key, body: body,
				header: map[string]string{"X-Request-Id": "'; --{}" + fmt.Sprint(i)}})
			entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries?limit=1"}).json["entries"].([]any)
			got := entries[0].(map[string]any)
			for _, field := range []string{"queueItemId", "featureType", "correlationId"} {
				if got[field] != s {
					h.Errorf("%s came back as %q, went as %q", field, got[field], s)
				}
			}
			if m, _ := got["metadata"].(map[string]any); m[s] != s {
				h.Errorf("metadata came back as %v, went with %q", got["metadata"], s)
			}
			events := h.expect(http.StatusOK, request{path: fmt.Sprintf("/v1/accounts/user:u1/events?after=%d&limit=1", 1+3*i)}).json["events"].([]any)
			if e := events[0].(map[string]any)["event"].(map[string]any); e["queueItemId"] != s {
				h.Errorf("the event's queueItemId is %q, went as %q", e["queueItemId"], s)
			}
		}
		n := float64(len(nasty))
		h.checkBalance("user:u1", 1000-n, n)
		h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/accounts/user:u1/holds",
			body: `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f","metadata":{"a":"\ud800"}}`})
		h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/holds",
			body: `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f","metadata":{"a":"\u0000"}}`})
	})
}
