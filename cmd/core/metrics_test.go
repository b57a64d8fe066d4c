package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMetricsAreDocumented(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	rdb, err := cli.RedisFlags{RedisURL: redisURL}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(serveSecret)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStack(t.Context(), stackConfig{
		databaseURL: wallettest.SQLite(t),
		rdb:         rdb,
		keys:        bus.Keys{Namespace: ns}.WithDefaults(),
		verifier:    verifier,
		log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	// The histogram of requests has a label, so it has no buckets before the first request.
	s.api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/none", nil))
	testenv.CheckMetrics(t, s.admin.Registry, "Both programs", "Core", "Publishers")
}
