package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// shopClient makes requests to the back end of the demo app.
type shopClient struct {
	*process
	base string // URL of the core, without a slash at the end
	keys int
}

// post makes a request that must have the given status.
func (c *shopClient) post(path, body string, wantStatus int) map[string]any {
	c.Helper()
	c.keys++
	header := http.Header{"Idempotency-Key": {fmt.Sprintf("shop-test-%d", c.keys)}}
	status, answer := c.request(http.MethodPost, c.base+path, header, body)
	if status != wantStatus {
		c.Fatalf("POST %s: got %d %v, want %d", path, status, answer, wantStatus)
	}
	return answer
}

// orders returns the open orders of GET /demo/shop.
func (c *shopClient) orders() []any {
	c.Helper()
	status, answer := c.request(http.MethodGet, c.base+"/demo/shop", nil, "")
	if status != http.StatusOK {
		c.Fatalf("GET /demo/shop: got %d %v, want 200", status, answer)
	}
	orders, ok := answer["orders"].([]any)
	if !ok {
		c.Fatalf("GET /demo/shop: got %v, want orders", answer)
	}
	return orders
}

func TestDevShop(t *testing.T) {
	p := launchDev(t, t.TempDir())
	c := &shopClient{process: p, base: strings.TrimSuffix(p.greetingURL("Live page"), "/")}
	ws := p.dialSocket()
	ws.subscribe()

	t.Run("orders", func(t *testing.T) {
		first, _ := c.post("/demo/shop/orders", `{"item":"song"}`, http.StatusCreated)["escrowId"].(string)
		second, _ := c.post("/demo/shop/orders", `{"item":"spin"}`, http.StatusCreated)["escrowId"].(string)
		orders := c.orders()
		if len(orders) != 2 {
			t.Fatalf("open orders: got %v, want 2", orders)
		}
		oldest, _ := orders[0].(map[string]any)
		if oldest["id"] != first || oldest["item"] != "song" || oldest["amount"] != 50.0 {
			t.Errorf("oldest order: got %v, want the song of %s for 50", oldest, first)
		}
		c.post("/demo/shop/orders/"+first+"/finish", "", http.StatusOK)
		c.post("/demo/shop/orders/"+second+"/cancel", "", http.StatusOK)
		if left := c.orders(); len(left) != 0 {
			t.Errorf("open orders after the end of both: got %v, want none", left)
		}
		c.post("/demo/shop/orders/"+first+"/cancel", "", http.StatusConflict)
	})

	t.Run("top-up", func(t *testing.T) {
		c.post("/demo/shop/top-up", "", http.StatusCreated)
	})

	t.Run("refusals", func(t *testing.T) {
		c.post("/demo/shop/orders", `{"item":"yacht"}`, http.StatusNotFound)
		c.post("/demo/shop/orders", `no JSON`, http.StatusBadRequest)
		c.post("/demo/shop/orders/x/finish", "", http.StatusNotFound)
		c.post("/demo/shop/orders/01a20a0c-fdcc-7439-bea7-3cc6de4f3914/finish", "", http.StatusNotFound)
		for range 2 { // 1,450 points are left
			c.post("/demo/shop/orders", `{"item":"private"}`, http.StatusCreated)
		}
		c.post("/demo/shop/orders", `{"item":"private"}`, http.StatusCreated)
		c.post("/demo/shop/orders", `{"item":"private"}`, http.StatusPaymentRequired)
	})

	t.Run("pages of other origins", func(t *testing.T) {
		header := http.Header{"Origin": {"http://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
		status, answer := c.request(http.MethodPost, c.base+"/demo/shop/top-up", header, "")
		if status != http.StatusForbidden {
			t.Errorf("top-up for another page: got %d %v, want 403", status, answer)
		}
	})
	p.stop()
}

// An app that has its own development server gets the token, reads and connects.
func TestDevServesAppsOfThisMachine(t *testing.T) {
	p := launchDev(t, t.TempDir())
	base := strings.TrimSuffix(p.greetingURL("Live page"), "/")
	gateway := strings.Replace(p.greetingURL("WebSocket"), "ws://", "http://", 1)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

	for origin, isAllowed := range map[string]bool{
		"http://localhost:5173":      true,
		"http://127.0.0.1:3000":      true,
		"http://[::1]:8000":          true,
		"http://localhost":           true,
		"http://localhost.evil:5173": false,
		"http://evil.example:5173":   false,
		"null":                       false,
	} {
		t.Run(origin, func(t *testing.T) {
			want := ""
			wantStatus := http.StatusForbidden
			if isAllowed {
				want = origin
				wantStatus = http.StatusSwitchingProtocols
			}
			token := requestFromPage(t, client, base+"/demo/token", http.Header{"Origin": {origin}})
			if got := token.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("Access-Control-Allow-Origin of the token: got %q, want %q", got, want)
			}
			balance := requestFromPage(t, client, base+"/v1/accounts/user:demo/balance", http.Header{"Origin": {origin}})
			if got := balance.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("Access-Control-Allow-Origin of the balance: got %q, want %q", got, want)
			}
			socket := requestFromPage(t, client, gateway, http.Header{
				"Origin":                 {origin},
				"Connection":             {"Upgrade"},
				"Upgrade":                {"websocket"},
				"Sec-WebSocket-Version":  {"13"},
				"Sec-WebSocket-Key":      {"dGhlIHNhbXBsZSBub25jZQ=="},
				"Sec-WebSocket-Protocol": {"wallet.v1"},
			})
			if socket.StatusCode != wantStatus {
				t.Errorf("handshake: got status %d, want %d", socket.StatusCode, wantStatus)
			}
		})
	}
	p.stop()
}

// requestFromPage returns the head of the answer.
func requestFromPage(t *testing.T, client *http.Client, url string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

func TestDevServesBuiltPages(t *testing.T) {
	d := &demo{socketURL: "ws://127.0.0.1:8081/v1/ws", coreURL: "http://127.0.0.1:8080"}
	mux := http.NewServeMux()
	err := d.addPages(mux, http.NewServeMux())
	if err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]string{
		"/":                      "text/html",
		"/demo/":                 "text/html",
		"/demo/assets/index.js":  "text/javascript",
		"/demo/assets/index.css": "text/css",
		"/live/realtime.js":      "text/javascript",
	} {
		t.Run(path, func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if w.Code != http.StatusOK {
				t.Errorf("status: got %d, want 200", w.Code)
			}
			if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, kind) {
				t.Errorf("Content-Type: got %q, want %s", got, kind)
			}
			if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
				t.Errorf("Content-Security-Policy: got %q, want default-src 'none'", got)
			}
		})
	}
}
