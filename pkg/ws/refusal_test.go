package ws

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Config.WriteError writes the response to a request that is not a handshake, like any other
// refusal.
func TestWriteErrorWritesHandshakeErrors(t *testing.T) {
	g := newGateway(t, Config{})
	for name, tc := range map[string]struct {
		method string
		change map[string]string // changes of the headers of a handshake
		status int
		header string // a header that the response must have
		value  string
	}{
		"no upgrade": {
			method: http.MethodGet,
			change: map[string]string{"Connection": "", "Upgrade": ""},
			status: http.StatusUpgradeRequired,
			header: "Upgrade",
			value:  "websocket",
		},
		"other upgrade": {
			method: http.MethodGet,
			change: map[string]string{"Upgrade": "h2c"},
			status: http.StatusUpgradeRequired,
			header: "Upgrade",
			value:  "websocket",
		},
		"HEAD": {
			method: http.MethodHead,
			status: http.StatusMethodNotAllowed,
			header: "Allow",
			value:  "GET",
		},
		"old version": {
			method: http.MethodGet,
			change: map[string]string{"Sec-WebSocket-Version": "8"},
			status: http.StatusBadRequest,
			header: "Sec-Websocket-Version",
			value:  "13",
		},
		"no key": {
			method: http.MethodGet,
			change: map[string]string{"Sec-WebSocket-Key": ""},
			status: http.StatusBadRequest,
		},
		"other subprotocol": {
			method: http.MethodGet,
			change: map[string]string{"Sec-WebSocket-Protocol": "wallet.v2"},
			status: http.StatusBadRequest,
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := g.requestHandshake(t, tc.method, tc.change)
			checkEqual(t, "status", resp.StatusCode, tc.status)
			checkEqual(t, "Content-Type", resp.Header.Get("Content-Type"), "application/json")
			if tc.header != "" {
				checkEqual(t, tc.header, resp.Header.Get(tc.header), tc.value)
			}
			if tc.method != http.MethodHead {
				checkErrorBody(t, resp, tc.status)
			}
			_ = resp.Body.Close()
		})
	}
}

// requestHandshake requests a handshake with changed headers.
func (g *gateway) requestHandshake(
	t *testing.T, method string, change map[string]string,
) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.server.URL+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	setUpgradeHeaders(req.Header)
	for name, value := range change {
		req.Header.Set(name, value)
	}
	resp, err := g.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// setUpgradeHeaders sets the headers of a handshake.
func setUpgradeHeaders(h http.Header) {
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

// checkErrorBody checks that writeErrorJSON wrote the body.
func checkErrorBody(t *testing.T, resp *http.Response, status int) {
	t.Helper()
	var body HTTPError
	err := json.NewDecoder(resp.Body).Decode(&body)
	if err != nil {
		t.Errorf("decode the body: %v", err)
	}
	checkEqual(t, "status in the body", body.Status, status)
	if body.Code == "" {
		t.Error("code: got none")
	}
	if body.Detail == "" {
		t.Error("detail: got none")
	}
}

// By default only pages of the gateway's own host may connect.
func TestDefaultOriginCheck(t *testing.T) {
	g := newGateway(t, Config{})
	g.checkOrigins(t, map[string]bool{
		"":                     true,
		g.server.URL:           true,
		"https://evil.example": false,
		"null":                 false,
		"%":                    false,
	})
}

// Config.CheckOrigin decides about all requests with an Origin header, and only about those.
func TestConfiguredOriginCheck(t *testing.T) {
	isApp := func(r *http.Request) bool {
		return r.Header.Get("Origin") == "https://app.example"
	}
	g := newGateway(t, Config{CheckOrigin: isApp})
	g.checkOrigins(t, map[string]bool{
		"":                    true,
		"https://app.example": true,
		"http://app.example":  false,
		g.server.URL:          false,
	})
}

// checkOrigins connects from each origin and checks whether it is allowed.
func (g *gateway) checkOrigins(t *testing.T, origins map[string]bool) {
	t.Helper()
	token := mintToken(t, Identity{Subject: "user:u1"})
	for origin, allowed := range origins {
		t.Run("origin "+origin, func(t *testing.T) {
			header := bearerHeader(token)
			if origin != "" {
				header.Set("Origin", origin)
			}
			if !allowed {
				g.expectRefused(header, http.StatusForbidden)
				return
			}
			_, _, err := g.tryDial(header)
			if err != nil {
				t.Errorf("got %v, want a connection", err)
			}
		})
	}
}
