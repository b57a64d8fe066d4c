package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// Every listener refuses a request with two Authorization headers, whatever they contain. With one
// header, each of these requests gets another answer.
func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	p := launchDev(t, t.TempDir())
	core := strings.TrimSuffix(p.greetingURL("Live page"), "/")
	gateway := strings.Replace(p.greetingURL("WebSocket"), "ws://", "http://", 1)
	gateway = strings.TrimSuffix(gateway, "/v1/ws")
	admin := regexp.MustCompile(`http://[^/\s]+`).FindAllString(p.out.awaitMatch(t, `^  Admin .*$`), -1)
	if len(admin) != 2 {
		t.Fatalf("admin listeners: got %v, want two", admin)
	}

	token := "Bearer " + p.exportedVariable("TOKEN")
	for name, tc := range map[string]struct {
		method string
		url    string
		status int // with one header
	}{
		"core balance":        {http.MethodGet, core + "/v1/accounts/user:demo/balance", http.StatusOK},
		"core entries":        {http.MethodGet, core + "/v1/accounts/user:demo/entries", http.StatusOK},
		"core batch":          {http.MethodPost, core + "/v1/batch", http.StatusOK},
		"core outbox":         {http.MethodGet, admin[0] + "/admin/outbox", http.StatusOK},
		"core reconcile":      {http.MethodPost, admin[0] + "/admin/reconcile", http.StatusOK},
		"core dead letters":   {http.MethodGet, admin[0] + "/admin/dead-letters?group=g", http.StatusOK},
		"gateway WebSocket":   {http.MethodGet, gateway + "/v1/ws", http.StatusUpgradeRequired},
		"gateway events":      {http.MethodGet, gateway + "/v1/events?accounts=x", http.StatusBadRequest},
		"gateway balance":     {http.MethodGet, gateway + "/v1/accounts/user:demo/balance", http.StatusOK},
		"gateway stats":       {http.MethodGet, admin[1] + "/admin/stats", http.StatusOK},
		"gateway connections": {http.MethodGet, admin[1] + "/admin/connections", http.StatusOK},
	} {
		body := ""
		if strings.HasSuffix(tc.url, "/v1/batch") {
			body = `{"operations":[{"operation":"credit"}]}`
		}
		t.Run(name, func(t *testing.T) {
			for kind, values := range map[string][]string{
				"same token twice": {token, token},
				"two tokens":       {token, "Bearer x.y.z"},
				"empty first":      {"", token},
				"empty second":     {token, ""},
			} {
				header := http.Header{"Authorization": values, "Content-Type": {"application/json"}}
				status, answer := p.request(tc.method, tc.url, header, body)
				if status != http.StatusBadRequest || answer["code"] != "invalid_request" {
					t.Errorf("%s: got %d %v, want 400 invalid_request", kind, status, answer)
				}
				if got := problemPointer(answer); got != "/authorization" {
					t.Errorf("%s: got pointer %q, want /authorization", kind, got)
				}
			}

			header := http.Header{"Authorization": {token}, "Content-Type": {"application/json"}}
			status, answer := p.request(tc.method, tc.url, header, body)
			if status != tc.status || problemPointer(answer) == "/authorization" {
				t.Errorf("one header: got %d %v, want %d", status, answer, tc.status)
			}
		})
	}
	p.stop()
}

// problemPointer returns the pointer of a problem's first error.
func problemPointer(answer map[string]any) string {
	list, _ := answer["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	first, _ := list[0].(map[string]any)
	pointer, _ := first["pointer"].(string)
	return pointer
}
