package doctor_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/internal/doctor"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
)

func TestCore(t *testing.T) {
	t.Parallel()
	good := doctor.CoreConfig{
		URL:     coretest.Start(t),
		Token:   coretest.ServiceToken(t),
		Keys:    bus.Keys{}.WithDefaults(),
		MustRun: true,
	}
	results := runArea(t, doctor.Core(good))
	expectOnly(t, results)
	finding{doctor.OK, "core/reachable", good.URL}.expect(t, results)
	finding{doctor.OK, "core/token", "accepts it"}.expect(t, results)
	finding{doctor.OK, "core/layout", "rt/64"}.expect(t, results)

	for _, tc := range []struct {
		name   string
		change func(cfg *doctor.CoreConfig)
		want   finding
	}{
		{"no token", func(cfg *doctor.CoreConfig) { cfg.Token = "" }, finding{doctor.Skip, "core/token", "no token"}},
		{"refused token", func(cfg *doctor.CoreConfig) { cfg.Token = "x.y.z" }, finding{doctor.Fail, "core/token", "the core refused the token"}},
		{"other layout", func(cfg *doctor.CoreConfig) { cfg.Keys.Partitions = 8 }, finding{doctor.Fail, "core/layout", "the core uses rt/64"}},
		{"clock", func(cfg *doctor.CoreConfig) { cfg.URL = startWrongClock(t, cfg.URL) }, finding{doctor.Fail, "core/clock", "behind"}},
		{"nothing listens", func(cfg *doctor.CoreConfig) { cfg.URL = "http://127.0.0.1:1" }, finding{doctor.Fail, "core/reachable", "refused"}},
		{"need not run", func(cfg *doctor.CoreConfig) {
			cfg.URL = "http://127.0.0.1:1"
			cfg.MustRun = false
		}, finding{doctor.Skip, "core/reachable", "no core answers"}},
		{"not a core", func(cfg *doctor.CoreConfig) {
			admin := httptest.NewServer(httpserver.NewAdmin())
			t.Cleanup(admin.Close)
			cfg.URL = admin.URL
		}, finding{doctor.Fail, "core/reachable", "status 404, want 200"}},
		{"no admin listener", func(cfg *doctor.CoreConfig) { cfg.AdminURL = cfg.URL }, finding{doctor.Fail, "core/healthy", "status 404, want 200"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good
			tc.change(&cfg)
			tc.want.expect(t, runArea(t, doctor.Core(cfg)))
		})
	}
}

// startWrongClock starts a proxy in front of a server. Answers have the time of an hour ago.
func startWrongClock(t *testing.T, target string) (proxyURL string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// An area without a public URL has only the checks of the admin listener.
func TestReadiness(t *testing.T) {
	t.Parallel()
	fail := func(context.Context) error { return errors.New("no answer") }
	for _, tc := range []struct {
		name   string
		checks []httpserver.Check
		want   finding
	}{
		{"degraded", []httpserver.Check{{Name: "core", Ping: fail, Degrades: true}}, finding{doctor.Warn, "gateway/ready", "degraded; core: no answer"}},
		{"not ready", []httpserver.Check{{Name: "redis", Ping: fail}}, finding{doctor.Fail, "gateway/ready", "not_ready; redis: no answer"}},
		{"ready", nil, finding{doctor.OK, "gateway/ready", "0 checks"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			admin := httptest.NewServer(httpserver.NewAdmin(tc.checks...))
			t.Cleanup(admin.Close)
			tc.want.expect(t, runArea(t, doctor.Gateway("gateway", doctor.GatewayConfig{AdminURL: admin.URL})))
		})
	}
}
