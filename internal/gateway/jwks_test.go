package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
)

// keyServer publishes a key, or answers 500 until it is available.
type keyServer struct {
	*httptest.Server
	private   ed25519.PrivateKey
	available atomic.Bool
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	public := base64.RawURLEncoding.EncodeToString(s.private[32:])
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !s.available.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"%s"}]}`, public)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) sign(t *testing.T, sub string) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"sub": sub,
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A gateway that cannot fetch the keys is not ready and gives the reason. It asks clients to try
// again, not to get another token.
func TestKeysCannotBeFetched(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	keys := newKeyServer(t)
	token := keys.sign(t, "user:u1")
	verifier, err := auth.NewVerifier(auth.Config{
		JWKSURL:   keys.URL,
		JWKSRetry: 10 * time.Millisecond,
		Logger:    discardLog,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.verifier = verifier
	w.startGateway(gateway.Config{})

	w.awaitReadiness("not ready", func(r reply) bool {
		checks := r.checks()
		isUnavailable := checks["jwks"] == "no keys could be fetched from the JWKS URL yet: status 500"
		return r.status == http.StatusServiceUnavailable && isUnavailable && checks["streams"] == "ok"
	})
	for name, url := range map[string]string{
		"balance":   w.balanceURL("user:u1"),
		"events":    w.url + "/v1/events",
		"WebSocket": w.url + "/v1/ws",
		"admin API": w.admin + "/admin/stats",
	} {
		t.Run(name, func(t *testing.T) { w.get(url, token).expectRetryable(t, "unavailable") })
	}
	t.Run("frame auth", func(t *testing.T) {
		conn := w.dialSocket(t, nil)
		err := conn.Write(context.Background(), websocket.MessageText, []byte(`{"op":"auth","token":"`+token+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		awaitClose(t, conn, websocket.StatusInternalError)
	})

	keys.available.Store(true)
	if got := w.awaitReady().checks()["jwks"]; got != "ok" {
		t.Errorf("check jwks: got %v, want ok", got)
	}
	w.get(w.balanceURL("user:u1"), token).expectStatus(t, http.StatusNotFound)
}
