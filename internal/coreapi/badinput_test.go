package coreapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
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
			h.runCase(name, func(h *harness) {
				problem := h.expectInvalid(request{path: "/v1/accounts/user:u1/holds", body: c.body})
				got := h.firstPointer(problem.json)
				if c.pointer != "" && got != c.pointer {
					h.Errorf("got pointer %q, want %q", got, c.pointer)
				}
			})
		}
		h.checkBalance("user:u1", 100, 0)
	})
}

const goodHold = `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f"}`

func TestBadAccounts(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for _, account := range []string{
			"user:a:b", "user:{1}", "user:a b", "user:", "u1", "admin:u1", "system:issuance",
			"user:" + strings.Repeat("x", 129), "user:a/b", "user:..", "user:ü", "user:a\n", "user:a\x00",
		} {
			h.runCase(strconv.Quote(account), func(h *harness) {
				path := "/v1/accounts/" + url.PathEscape(account)
				h.expectInvalid(request{path: path + "/holds", body: goodHold})
				h.expectInvalid(request{path: path + "/balance"})
			})
		}
		h.runCase("hold on a model", func(h *harness) {
			h.expectInvalid(request{path: "/v1/accounts/model:m1/holds", body: goodHold})
		})
		h.runCase("escrows of a model", func(h *harness) {
			h.expectInvalid(request{path: "/v1/accounts/model:m1/escrows"})
		})
	})
}

func TestBadHeaders(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		header := func(name, value string) map[string]string { return map[string]string{name: value} }
		for name, r := range map[string]request{
			"no key":               {key: "-"},
			"long key":             {key: strings.Repeat("k", 256)},
			"key not ASCII":        {key: "kü"},
			"long request id":      {header: header("X-Request-Id", strings.Repeat("r", 256))},
			"long traceparent":     {header: header("Traceparent", strings.Repeat("t", 256))},
			"form":                 {header: header("Content-Type", "application/x-www-form-urlencoded")},
			"latin1":               {header: header("Content-Type", "application/json; charset=latin1")},
			"gzip":                 {header: header("Content-Encoding", "gzip")},
			"br":                   {header: header("Content-Encoding", "br")},
			"identity, then gzip":  {header: header("Content-Encoding", "identity, gzip")},
			"gzip in a batch":      {path: "/v1/batch", header: header("Content-Encoding", "gzip")},
			"br in a batch":        {path: "/v1/batch", header: header("Content-Encoding", "br")},
			"both in a batch":      {path: "/v1/batch", header: header("Content-Encoding", "identity, gzip")},
			"query of a hold":      {path: "/v1/accounts/user:u1/holds?amount=2"},
			"query of a batch":     {path: "/v1/batch?atomic=true", body: item{"operations": []item{creditItem("k", 1)}}},
			"POST without a body":  {method: http.MethodPost, body: ""},
			"hold without a field": {body: "{}"},
		} {
			h.runCase(name, func(h *harness) {
				if r.path == "" {
					r.path = "/v1/accounts/user:u1/holds"
				}
				if r.body == nil {
					r.body = goodHold
				}
				h.expectInvalid(r)
			})
		}
		h.runCase("POST without Content-Type and body", func(h *harness) {
			h.expectInvalid(request{path: "/v1/accounts/user:u1/holds", method: http.MethodPost})
		})
		h.checkBalance("user:u1", 100, 0)
	})
}

// badModelIDs are neither the bare id of a model nor its full form.
var badModelIDs = []string{
	"", "user:u1", "a b", "model:", "model:model:m1", "model:a b", "system:payout", ":m1", "-m1", "m1:",
	strings.Repeat("m", 129), "model:" + strings.Repeat("m", 129),
}

func TestBadIDs(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for _, id := range []string{
			"x",
			"01936f5e7c1a7b3e9f003a5d8f0c1b2a",
			"%7B01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a%7D",
			"00000000-0000-0000-0000-000000000000",
		} {
			h.runCase("escrow "+id, func(h *harness) {
				h.expectInvalid(request{path: "/v1/escrows/" + id + "/refund", body: refundBody(1)})
			})
		}
		for _, path := range []string{"/v1/escrows/nonsense", "/v1/transactions/nonsense"} {
			h.runCase(path, func(h *harness) { h.expectInvalid(request{path: path}) })
		}
		for _, modelID := range badModelIDs {
			for call, body := range map[string]item{"settle": settleBody(1), "partial-settle": partialSettleBody(1, 1)} {
				h.runCase(call+" with model "+strconv.Quote(modelID), func(h *harness) {
					body["modelId"] = modelID
					path := "/v1/escrows/01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a/" + call
					problem := h.expectInvalid(request{path: path, body: body})
					if got := h.firstPointer(problem.json); got != "/modelId" {
						h.Errorf("got pointer %s, want /modelId", got)
					}
				})
			}
		}
	})
}

func TestBadQueries(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		for call, queries := range map[string][]string{
			"entries": {
				"limit=0", "limit=1001", "limit=x", "limit=%2B1", "limit=01", "limit=-0", "limit=1&limit=2", "Limit=1",
				"before=nonsense", "reason=DROP", "from=yesterday", "asOf=2026-01-01T00:00:00Z", "%zz",
			},
			"events":  {"after=-1", "after=00", "after=-0", "after=1.5", "after=9007199254740992", "limit=0"},
			"escrows": {"status=open"},
			"balance": {
				"x=1", "asOf=yesterday", "asOf=2026-11-23", "asOf=2026-11-23T19:02:58", "asOf=1795460578",
				"asOf=2026-11-23T19:02:58Z&asOf=2026-11-23T19:02:58Z",
			},
		} {
			for _, query := range queries {
				h.runCase(call+"?"+query, func(h *harness) {
					h.expectInvalid(request{path: "/v1/accounts/user:u1/" + call + "?" + query})
				})
			}
		}
	})
}

// A header that is given twice is ambiguous.
func TestHeadersGivenTwice(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		for name, values := range map[string][]string{
			"Authorization":    {"Bearer " + h.token, "Bearer x"},
			"Content-Type":     {"application/json", "text/plain"},
			"Content-Encoding": {"identity", "gzip"},
			"Idempotency-Key":  {"k1", "k2"},
			"X-Request-Id":     {"r1", "r2"},
			"Traceparent":      {traceParent, traceParent},
		} {
			h.runCase(name, func(h *harness) {
				req := h.newRequest(request{path: "/v1/accounts/user:u1/holds", body: goodHold})
				req.Header[name] = values
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					h.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusBadRequest {
					h.Errorf("got status %d, want 400", resp.StatusCode)
				}
			})
		}
		h.checkBalance("user:u1", 100, 0)
	})
}

func TestContentEncodingIdentityIsAccepted(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		h.expect(http.StatusCreated, request{
			path:   "/v1/accounts/user:u1/holds",
			body:   holdBody(1),
			header: map[string]string{"Content-Encoding": "Identity"},
		})
	})
}

func TestTooLarge(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 100)
		const path = "/v1/accounts/user:u1/holds"
		large := `{"amount":1,"reason":"x","queueItemId":"` + strings.Repeat("q", 2<<20) + `","featureType":"f"}`
		withMetadata := func(metadata string) string {
			return `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f","metadata":` + metadata + `}`
		}
		text := func(size int) string { return `{"a":"` + strings.Repeat("m", size-len(`{"a":""}`)) + `"}` }
		// No JSON decoder accepts this depth.
		nested := func(depth int) string { return strings.Repeat(`{"":`, depth) + `{}` + strings.Repeat(`}`, depth) }
		for name, r := range map[string]request{
			"body":                    {body: large},
			"body without a length":   {body: large, chunked: true},
			"metadata":                {body: withMetadata(text(8<<10 + 1))},
			"metadata, 11,000 levels": {body: withMetadata(nested(11000))},
			"metadata, 20,000 levels": {body: withMetadata(nested(20000))},
		} {
			h.runCase(name, func(h *harness) {
				r.path = path
				h.expectProblem(http.StatusRequestEntityTooLarge, "request_too_large", r)
			})
		}
		h.runCase("largest metadata", func(h *harness) {
			h.expect(http.StatusCreated, request{path: path, body: withMetadata(text(8 << 10)), chunked: true})
		})
		h.checkBalance("user:u1", 99, 1)
	})
}

// Problems do not repeat long names from the request.
func TestLongPointersAreCut(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const (
			holds       = "/v1/accounts/user:u1/holds"
			batch       = "/v1/batch"
			maxAnswer   = 1000
			longPointer = 200 + len("…")
		)
		name := strings.Repeat("ö~", 100000)
		for test, c := range map[string]struct{ path, body, prefix string }{
			"field":            {holds, `{"` + name + `":1}`, "/ö~0ö~0"},
			"member":           {holds, `{"metadata":{"` + name[:3000] + `":"\ud800"}}`, "/metadata/ö~0ö~0"},
			"depth":            {holds, `{"amount":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}`, "/amount"},
			"field of an item": {batch, `{"operations":[{"` + name + `":1}]}`, "/operations/0/ö~0ö~0"},
		} {
			h.runCase(test, func(h *harness) {
				problem := h.expectInvalid(request{path: c.path, body: c.body})
				if len(problem.raw) > maxAnswer {
					h.Errorf("got an answer of %d bytes, want at most %d", len(problem.raw), maxAnswer)
				}
				pointer := h.firstPointer(problem.json)
				if len(pointer) > longPointer {
					h.Errorf("got a pointer of %d bytes, want at most %d", len(pointer), longPointer)
				}
				if !strings.HasPrefix(pointer, c.prefix) {
					h.Errorf("got pointer %q, want the prefix %q", pointer, c.prefix)
				}
				if strings.Contains(pointer, "\ufffd") {
					h.Errorf("got pointer %q, which is cut inside a character", pointer)
				}
			})
		}
		h.runCase("parameter", func(h *harness) {
			problem := h.expectInvalid(request{path: "/v1/accounts/user:u1/entries?" + strings.Repeat("x", 10000) + "=1"})
			if len(problem.raw) > maxAnswer {
				h.Errorf("got an answer of %d bytes, want at most %d", len(problem.raw), maxAnswer)
			}
		})
	})
}

func TestUnknownPaths(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for _, path := range []string{
			"/", "/v1", "/v1/nothing", "//v1/accounts/user:u1/holds", "/v1//accounts/user:u1/holds",
			"/v1/accounts/../accounts/user:u1/holds", "/v1/./accounts/user:u1/holds", "/v1/accounts/user:u1/holds/",
			"/v1/accounts/user:u1/holds/..",
		} {
			h.runCase(path, func(h *harness) {
				h.expectProblem(http.StatusNotFound, "not_found", request{path: path, body: "{}"})
				h.expectProblem(http.StatusNotFound, "not_found", request{path: path})
				a := h.send(request{path: path, header: map[string]string{"X-Request-Id": "req-1"}})
				if got := a.header.Get("X-Request-Id"); got != "req-1" {
					h.Errorf("got request id %q, want req-1", got)
				}
			})
		}
	})
}

func TestOtherMethods(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		a := h.expectProblem(http.StatusMethodNotAllowed, "method_not_allowed", request{path: "/v1/accounts/user:u1/holds"})
		if got := a.header.Get("Allow"); got != "POST" {
			h.Errorf("got Allow %q, want POST", got)
		}
		if got := a.header.Get("X-Request-Id"); len(got) != 36 {
			h.Errorf("got generated request id %q, want a UUID", got)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, "PROPFIND"} {
			h.runCase(method, func(h *harness) {
				h.expectProblem(http.StatusMethodNotAllowed, "method_not_allowed",
					request{method: method, path: "/v1/accounts/user:u1/balance"})
			})
		}
	})
}

// Characters with a meaning in SQL, Redis, JSON or HTML have none in text fields.
func TestMetacharacters(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1000)
		h.credit("user:O.K._~@-1", 5)
		texts := []string{
			`'; DROP TABLE entries; --`, `" OR 1=1`, `\'\\`, `$1`, `%s%d`, `{0}:events`, `*`, `?`, `EVAL "x" 0`,
			`<script>alert(1)</script>`, `{{.}}`, `null`, `ünïcödé ✓ 💎`, `\u0041`, `a,b,{c},"d"`, `&amp;`, " ", "\u2028",
		}
		for i, text := range texts {
			h.runCase(strconv.Quote(text), func(h *harness) {
				body := holdBody(1)
				body["queueItemId"] = text
				body["featureType"] = text
				body["correlationId"] = text
				body["metadata"] = item{text: text}
				h.expect(http.StatusCreated, request{
					path:   "/v1/accounts/user:u1/holds",
					key:    fmt.Sprintf("k%d'\";--{}$1\\", i),
					body:   body,
					header: map[string]string{"X-Request-Id": "'; --{}" + fmt.Sprint(i)},
				})

				entries := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries?limit=1"}).json["entries"].([]any)
				entry := entries[0].(item)
				h.expectFields(entry, item{"queueItemId": text, "featureType": text, "correlationId": text})
				metadata, _ := entry["metadata"].(item)
				h.expectFields(metadata, item{text: text})

				path := fmt.Sprintf("/v1/accounts/user:u1/events?after=%d&limit=1", 1+3*i)
				events := h.expect(http.StatusOK, request{path: path}).json["events"].([]any)
				event, _ := events[0].(item)["event"].(item)
				h.expectFields(event, item{"queueItemId": text})
			})
		}
		n := float64(len(texts))
		h.checkBalance("user:u1", 1000-n, n)
	})
}

// C1 and bidi control characters are refused in all texts.
func TestControlCharacters(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1000)
		for _, text := range []string{"a\u0085b", "\u009b2J", "\u202egnp.exe", "\u2066x", "\u200f"} {
			for _, field := range []string{"queueItemId", "featureType", "correlationId"} {
				body := holdBody(1)
				body[field] = text
				refusal := h.expectInvalid(request{path: "/v1/accounts/user:u1/holds", body: body})
				if got := h.firstPointer(refusal.json); got != "/"+field {
					t.Errorf("%q: got pointer %s, want /%s", text, got, field)
				}
			}
			h.expectInvalid(request{
				path:   "/v1/accounts/user:u1/holds",
				body:   holdBody(1),
				header: map[string]string{"X-Request-Id": text},
			})
		}
		h.checkBalance("user:u1", 1000, 0)
	})
}

func TestEscapesInMetadata(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 1000)
		withMetadata := func(metadata string) request {
			return request{
				path: "/v1/accounts/user:u1/holds",
				body: `{"amount":1,"reason":"x","queueItemId":"q","featureType":"f","metadata":` + metadata + `}`,
			}
		}
		h.expectInvalid(withMetadata(`{"a":"\ud800"}`))
		h.expect(http.StatusCreated, withMetadata(`{"a":"\n\u0009"}`))
		for _, text := range []string{`\u0000`, `\u001b[2J`, `\u009b`, "\u009b", `\u202E`, "\u202e"} {
			h.expectInvalid(withMetadata(`{"a":"` + text + `"}`))
			h.expectInvalid(withMetadata(`{"` + text + `":1}`))
		}
	})
}
