package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// jwk is a key in a key set.
type jwk map[string]any

// jwksServer publishes a key set. While it is unavailable it answers 502.
type jwksServer struct {
	*httptest.Server

	mu          sync.Mutex // protects the fields below
	keys        []jwk
	unavailable bool
	requests    int
}

func newJWKSServer(t *testing.T, keys ...jwk) *jwksServer {
	t.Helper()
	s := &jwksServer{keys: keys}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serveKeys))
	t.Cleanup(s.Close)
	return s
}

func (s *jwksServer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.unavailable {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": s.keys})
}

func (s *jwksServer) setKeys(keys ...jwk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func (s *jwksServer) setUnavailable(unavailable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unavailable = unavailable
}

func (s *jwksServer) requestCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func encodeBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ecJWK(k *ecdsa.PrivateKey, kid string) jwk {
	return jwk{
		"kty": "EC",
		"crv": "P-256",
		"kid": kid,
		"x":   encodeBase64(k.X.FillBytes(make([]byte, 32))),
		"y":   encodeBase64(k.Y.FillBytes(make([]byte, 32))),
	}
}

func rsaJWK(k *rsa.PrivateKey, kid string) jwk {
	return jwk{
		"kty": "RSA",
		"kid": kid,
		"n":   encodeBase64(k.N.Bytes()),
		"e":   encodeBase64(big.NewInt(int64(k.E)).Bytes()),
	}
}

func edJWK(k ed25519.PrivateKey, kid string) jwk {
	public, _ := k.Public().(ed25519.PublicKey)
	return jwk{
		"kty": "OKP",
		"crv": "Ed25519",
		"kid": kid,
		"x":   encodeBase64(public),
	}
}

// with returns the key with another member.
func (k jwk) with(name string, value any) jwk {
	k[name] = value
	return k
}
