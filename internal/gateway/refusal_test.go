package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
)

// A request that the hub refuses gets the same kind of problem document as any other.
func TestRefusalsAreProblems(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.sign("user:u1", "")
	for name, tc := range map[string]struct {
		path    string
		token   string
		header  []string
		status  int
		code    string
		title   string
		pointer string
	}{
		"no handshake":          {"/v1/ws", own, nil, 426, "upgrade_required", "Upgrade Required", ""},
		"other subprotocol":     {"/v1/ws", own, []string{"Sec-WebSocket-Protocol", "other"}, 400, "invalid_request", "Bad Request", ""},
		"bad token":             {"/v1/ws", "x.y.z", nil, 401, "unauthorized", "Unauthorized", ""},
		"foreign page":          {"/v1/ws", own, []string{"Origin", "https://evil.example"}, 403, "forbidden", "Forbidden", ""},
		"stream, no token":      {"/v1/events", "", nil, 401, "unauthorized", "Unauthorized", ""},
		"stream, parameter":     {"/v1/events?minAmount=x", own, nil, 400, "invalid_request", "Invalid request", "/minAmount"},
		"stream, no query":      {"/v1/events?%zz", own, nil, 400, "invalid_request", "Invalid request", "/"},
		"stream, other account": {"/v1/events?accounts=user:u2", own, nil, 403, "forbidden", "Forbidden", ""},
		"stream, bad position":  {"/v1/events?after=x", own, nil, 400, "invalid_request", "Bad Request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.get(w.url+tc.path, tc.token, tc.header...)
			if r.status != tc.status || r.json["status"] != float64(tc.status) {
				t.Errorf("status %d, in the body %v, want %d", r.status, r.json["status"], tc.status)
			}
			if got := r.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if r.json["code"] != tc.code || r.json["type"] != "urn:redroomrewards:problem:"+tc.code {
				t.Errorf("code %v, type %v, want %s", r.json["code"], r.json["type"], tc.code)
			}
			if r.json["title"] != tc.title {
				t.Errorf("title %v, want %s", r.json["title"], tc.title)
			}
			if detail, _ := r.json["detail"].(string); detail == "" {
				t.Error("no detail")
			}
			pointer := ""
			if fields, _ := r.json["errors"].([]any); len(fields) > 0 {
				field, _ := fields[0].(map[string]any)
				pointer, _ = field["pointer"].(string)
			}
			if pointer != tc.pointer {
				t.Errorf("pointer %q, want %q", pointer, tc.pointer)
			}
			if got := r.header.Get("WWW-Authenticate"); (got != "") != (tc.status == http.StatusUnauthorized) {
				t.Errorf("WWW-Authenticate %q", got)
			}
		})
	}
}

// A bad token opens nothing, in the header or in the first frame.
func TestBadTokens(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	claims := jwt.MapClaims{"sub": "user:u1", "exp": time.Now().Add(time.Hour).Unix()}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	noExp, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "user:u1"}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	signWith := func(key []byte, r auth.Request) string {
		raw, err := auth.Sign(key, r)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, raw := range map[string]string{
		"empty":          "",
		"rubbish":        "rubbish",
		"expired":        signWith(secret, auth.Request{Subject: "user:u1", TTL: -time.Minute}),
		"wrongly signed": signWith([]byte("another-secret-of-32-bytes-or-more-12345"), auth.Request{Subject: "user:u1", TTL: time.Hour}),
		"alg none":       none,
		"no exp":         noExp,
		"9 KiB":          signWith(secret, auth.Request{Subject: "user:u1", Scopes: []string{strings.Repeat("s", 9<<10)}, TTL: time.Hour}),
	} {
		t.Run(name, func(t *testing.T) {
			if r := w.get(w.url+"/v1/ws", raw, "Authorization", "Bearer "+raw); r.status != http.StatusUnauthorized {
				t.Errorf("in the header: %d %v", r.status, r.json)
			}
			c := w.connect(t, nil)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"op":"auth","token":"`+raw+`"}`)); err != nil {
				t.Fatal(err)
			}
			closed(t, c, 4401)
		})
	}
}

// connect dials without reading anything.
func (w *world) connect(t *testing.T, header http.Header) *websocket.Conn {
	t.Helper()
	c, err := w.tryConnect(header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func (w *world) tryConnect(header http.Header) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(w.url, "http", "ws", 1)+"/v1/ws", &websocket.DialOptions{HTTPHeader: header})
	return c, err
}

// Web pages connect from the gateway's own host and from the configured ones.
func TestOrigins(t *testing.T) {
	w := newWorld(t, gateway.Config{AllowedOrigins: []string{"https://app.example.com", "*.example.org"}})
	for origin, want := range map[string]bool{
		"":                        true,
		w.url:                     true,
		"https://app.example.com": true,
		"http://app.example.com":  false,
		"https://x.example.org":   true,
		"https://evil.example":    false,
		"null":                    false,
	} {
		header := http.Header{"Authorization": {"Bearer " + w.sign("user:u1", "")}}
		if origin != "" {
			header.Set("Origin", origin)
		}
		c, err := w.tryConnect(header)
		if got := err == nil; got != want {
			t.Errorf("origin %q: %v", origin, err)
		}
		if c != nil {
			_ = c.CloseNow()
		}
	}
}
