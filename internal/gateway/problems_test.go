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

// pointer returns the pointer of the first error of a problem document, or "".
func (r reply) pointer() string {
	fields, _ := r.json["errors"].([]any)
	if len(fields) == 0 {
		return ""
	}
	field, _ := fields[0].(map[string]any)
	pointer, _ := field["pointer"].(string)
	return pointer
}

// The hub's refusals have the same form as all other problem documents.
func TestHubRefusalsAreProblems(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.signToken("user:u1", "")
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
		"other subprotocol":     {"/v1/ws", own, []string{"Sec-WebSocket-Protocol", "other"}, 400, "invalid_request", "Invalid request", ""},
		"bad token":             {"/v1/ws", "x.y.z", nil, 401, "unauthorized", "Unauthorized", ""},
		"foreign page":          {"/v1/ws", own, []string{"Origin", "https://evil.example"}, 403, "forbidden", "Forbidden", ""},
		"stream, no token":      {"/v1/events", "", nil, 401, "unauthorized", "Unauthorized", ""},
		"stream, parameter":     {"/v1/events?minAmount=x", own, nil, 400, "invalid_request", "Invalid request", "/minAmount"},
		"stream, no query":      {"/v1/events?%zz", own, nil, 400, "invalid_request", "Invalid request", "/"},
		"stream, other account": {"/v1/events?accounts=user:u2", own, nil, 403, "forbidden", "Forbidden", ""},
		"stream, bad position":  {"/v1/events?after=x", own, nil, 400, "invalid_request", "Invalid request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.get(w.url+tc.path, tc.token, tc.header...)
			r.expectProblem(t, tc.status, tc.code)
			r.expectJSON(t, "status", float64(tc.status))
			r.expectJSON(t, "type", "urn:redroomrewards:problem:"+tc.code)
			r.expectJSON(t, "title", tc.title)
			r.expectHeader(t, "Content-Type", "application/problem+json")
			if detail, _ := r.json["detail"].(string); detail == "" {
				t.Error("detail: got none")
			}
			if got := r.pointer(); got != tc.pointer {
				t.Errorf("pointer: got %q, want %q", got, tc.pointer)
			}
			hasChallenge := r.header.Get("WWW-Authenticate") != ""
			if want := tc.status == http.StatusUnauthorized; hasChallenge != want {
				t.Errorf("WWW-Authenticate: got %v, want %v", hasChallenge, want)
			}
		})
	}
}

// A bad token is refused in the header and in the first frame.
func TestBadTokensAreRefused(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	signWith := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		claims["sub"] = "user:u1"
		raw, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	inAnHour := time.Now().Add(time.Hour).Unix()
	expired := time.Now().Add(-time.Minute).Unix()
	otherSecret := []byte("another-secret-of-32-bytes-or-more-12345")
	for name, token := range map[string]string{
		"empty":         "",
		"not a JWT":     "rubbish",
		"expired":       signWith(jwt.SigningMethodHS256, secret, jwt.MapClaims{"exp": expired}),
		"other secret":  signWith(jwt.SigningMethodHS256, otherSecret, jwt.MapClaims{"exp": inAnHour}),
		"alg none":      signWith(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"exp": inAnHour}),
		"without exp":   signWith(jwt.SigningMethodHS256, secret, jwt.MapClaims{}),
		"more than 8 K": w.signRequest(auth.Request{Subject: "user:u1", Scopes: []string{strings.Repeat("s", 9<<10)}, TTL: time.Hour}),
	} {
		t.Run(name, func(t *testing.T) {
			r := w.get(w.url+"/v1/ws", token, "Authorization", "Bearer "+token)
			r.expectStatus(t, http.StatusUnauthorized)
			conn := w.dialSocket(t, nil)
			err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"op":"auth","token":"`+token+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			awaitClose(t, conn, 4401)
		})
	}
}

// dialSocket connects and reads nothing.
func (w *world) dialSocket(t *testing.T, header http.Header) *websocket.Conn {
	t.Helper()
	conn, err := w.tryDialSocket(header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (w *world) tryDialSocket(header http.Header) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(w.Context(), testTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, w.socketURL(), &websocket.DialOptions{HTTPHeader: header})
	return conn, err
}

// Web pages connect from the gateway's own host and from the configured origins.
func TestOriginsOfWebSockets(t *testing.T) {
	w := newWorld(t, gateway.Config{AllowedOrigins: []string{"https://app.example.com", "*.example.org"}})
	for name, tc := range map[string]struct {
		origin string
		want   bool
	}{
		"no origin":        {"", true},
		"own host":         {w.url, true},
		"configured":       {"https://app.example.com", true},
		"other scheme":     {"http://app.example.com", false},
		"matching pattern": {"https://x.example.org", true},
		"not configured":   {"https://evil.example", false},
		"null":             {"null", false},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Authorization": {"Bearer " + w.signToken("user:u1", "")}}
			if tc.origin != "" {
				header.Set("Origin", tc.origin)
			}
			conn, err := w.tryDialSocket(header)
			if got := err == nil; got != tc.want {
				t.Errorf("connected: got %v (%v), want %v", got, err, tc.want)
			}
			if conn != nil {
				_ = conn.CloseNow()
			}
		})
	}
}
