package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
)

// A gateway whose keys cannot be fetched is not ready and says so; its clients are told to try again, not to get another token.
func TestKeysCannotBeFetched(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var works atomic.Bool
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !works.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"%s"}]}`, base64.RawURLEncoding.EncodeToString(private[32:]))
	}))
	defer keys.Close()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "user:u1", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	if w.verifier, err = auth.NewVerifier(auth.Config{JWKSURL: keys.URL, JWKSRetry: 10 * time.Millisecond, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	w.gateway(gateway.Config{})

	w.until("not ready", func() reply { return w.get(w.admin+"/readyz", "") }, func(r reply) bool {
		checks, _ := r.json["checks"].(map[string]any)
		return r.status == http.StatusServiceUnavailable && checks["jwks"] == "no keys of tokens could be fetched yet: status 500" && checks["streams"] == "ok"
	})
	for path, base := range map[string]string{"/v1/accounts/user:u1/balance": w.url, "/v1/events": w.url, "/v1/ws": w.url, "/admin/stats": w.admin} {
		if r := w.get(base+path, raw); r.status != http.StatusServiceUnavailable || r.json["code"] != "unavailable" || r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", path, r.status, r.json)
		}
	}
	c, resp, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body // the connection's
	defer func() { _ = c.CloseNow() }()
	if err := c.Write(context.Background(), websocket.MessageText, []byte(`{"op":"auth","token":"`+raw+`"}`)); err != nil {
		t.Fatal(err)
	}
	closed(t, c, websocket.StatusInternalError)

	works.Store(true)
	if checks, _ := w.untilReady().json["checks"].(map[string]any); checks["jwks"] != "ok" {
		t.Errorf("readyz: %v", checks)
	}
	if r := w.get(w.url+"/v1/accounts/user:u1/balance", raw); r.status != http.StatusNotFound {
		t.Errorf("with keys: %d %v", r.status, r.json)
	}
}
