package coreapi_test

import (
	"net/http"
	"testing"
)

const (
	allowedOrigin = "https://app.example.com"
	otherOrigin   = "https://evil.example"
)

// Pages of allowed origins read answers, also refusals. No page reads the answer of a write.
func TestPagesRead(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		h.credit("user:u1", 10)
		write := map[string]any{"amount": 1, "reason": "promotional_award"}
		for name, tc := range map[string]struct {
			origin  string
			request request
			status  int
			allowed string // Access-Control-Allow-Origin
			vary    string
		}{
			"allowed origin":    {allowedOrigin, request{path: "/v1/accounts/user:u1/balance"}, http.StatusOK, allowedOrigin, "Origin"},
			"own host":          {h.url, request{path: "/v1/accounts/user:u1/entries"}, http.StatusOK, h.url, "Origin"},
			"other origin":      {otherOrigin, request{path: "/v1/accounts/user:u1/balance"}, http.StatusOK, "", "Origin"},
			"no origin":         {"", request{path: "/v1/accounts/user:u1/balance"}, http.StatusOK, "", "Origin"},
			"unknown account":   {allowedOrigin, request{path: "/v1/accounts/user:u2/balance"}, http.StatusNotFound, allowedOrigin, "Origin"},
			"no token":          {allowedOrigin, request{path: "/v1/accounts/user:u1/balance", token: "-"}, http.StatusUnauthorized, allowedOrigin, "Origin"},
			"write":             {allowedOrigin, request{path: "/v1/accounts/user:u1/credits", body: write}, http.StatusCreated, "", ""},
			"write, own origin": {h.url, request{path: "/v1/accounts/user:u1/credits", body: write}, http.StatusCreated, "", ""},
		} {
			h.runCase(name, func(h *harness) {
				r := tc.request
				if tc.origin != "" {
					r.header = map[string]string{"Origin": tc.origin}
				}
				a := h.send(r)
				checkEqual(h, "status", a.status, tc.status)
				checkEqual(h, "Access-Control-Allow-Origin", a.header.Get("Access-Control-Allow-Origin"), tc.allowed)
				checkEqual(h, "Access-Control-Allow-Credentials", a.header.Get("Access-Control-Allow-Credentials"), "")
				checkEqual(h, "Vary", a.header.Get("Vary"), tc.vary)
			})
		}
	})
}

// A browser asks before it sends a token. The answer permits reads of allowed origins only, and says
// why it refuses others.
func TestPreflight(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		for name, tc := range map[string]struct {
			origin, method, path string
			status               int
			code                 string
			allowed              string // Access-Control-Allow-Methods
		}{
			"read":               {allowedOrigin, "GET", "/v1/accounts/user:u1/balance", http.StatusNoContent, "", "GET"},
			"read of all events": {allowedOrigin, "GET", "/v1/events", http.StatusNoContent, "", "GET"},
			"other origin":       {otherOrigin, "GET", "/v1/accounts/user:u1/balance", http.StatusForbidden, "forbidden", ""},
			"write":              {allowedOrigin, "POST", "/v1/accounts/user:u1/credits", http.StatusMethodNotAllowed, "method_not_allowed", ""},
			"write to a read":    {allowedOrigin, "POST", "/v1/accounts/user:u1/balance", http.StatusMethodNotAllowed, "method_not_allowed", ""},
			"read of a write":    {allowedOrigin, "GET", "/v1/batch", http.StatusMethodNotAllowed, "method_not_allowed", ""},
			"unknown path":       {allowedOrigin, "GET", "/v1/nothing", http.StatusNotFound, "not_found", ""},
			"no preflight":       {allowedOrigin, "", "/v1/accounts/user:u1/balance", http.StatusMethodNotAllowed, "method_not_allowed", ""},
		} {
			h.runCase(name, func(h *harness) {
				header := map[string]string{"Origin": tc.origin}
				if tc.method != "" {
					header["Access-Control-Request-Method"] = tc.method
					header["Access-Control-Request-Headers"] = "authorization"
				}
				a := h.send(request{method: http.MethodOptions, path: tc.path, token: "-", header: header})
				checkEqual(h, "status", a.status, tc.status)
				code, _ := a.json["code"].(string)
				checkEqual(h, "code", code, tc.code)
				checkEqual(h, "Access-Control-Allow-Methods", a.header.Get("Access-Control-Allow-Methods"), tc.allowed)
				checkEqual(h, "Access-Control-Allow-Credentials", a.header.Get("Access-Control-Allow-Credentials"), "")
			})
		}
	})
}

func checkEqual[T comparable](h *harness, name string, got, want T) {
	h.Helper()
	if got != want {
		h.Errorf("%s: got %v, want %v", name, got, want)
	}
}
