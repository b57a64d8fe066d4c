package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// callTimeout bounds one call to a core or a gateway.
const callTimeout = 15 * time.Second

// CoreConfig describes a core that may be running.
type CoreConfig struct {
	URL       string // of its HTTP API
	AdminURL  string // of its admin listener; empty: not checked
	Token     string // with the scope wallet:read; empty: none
	Keys      bus.Keys
	MustRun   bool // it is a failure if no core answers
	SkipCause string
}

// Core returns the checks of a core's HTTP API.
func Core(cfg CoreConfig) Area {
	return Area{name: "core", run: func(ctx context.Context, c *collector) {
		s := newServers(c)
		s.checkCore(ctx, cfg)
	}}
}

// GatewayConfig describes a gateway.
type GatewayConfig struct {
	URL      string // for clients; empty: not checked
	AdminURL string // of its admin listener; empty: not checked
	Token    string // of a client; empty: none
}

// Gateway returns the checks of a gateway. The name distinguishes several ones.
func Gateway(name string, cfg GatewayConfig) Area {
	return Area{name: name, run: func(ctx context.Context, c *collector) {
		s := newServers(c)
		s.checkGateway(ctx, cfg)
	}}
}

// servers makes checks over HTTP.
type servers struct {
	*collector
	client *http.Client
}

func newServers(c *collector) *servers {
	return &servers{
		collector: c,
		client: &http.Client{
			Timeout:   callTimeout,
			Transport: &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

func (s *servers) checkCore(ctx context.Context, cfg CoreConfig) {
	if cfg.SkipCause != "" {
		s.skip("reachable", "%s", cfg.SkipCause)
		return
	}
	err := s.checkServer(ctx, cfg.URL, "/openapi.json")
	switch {
	case err != nil && !cfg.MustRun:
		s.skip("reachable", "no core answers at %s", cfg.URL)
		return
	case err != nil:
		s.fail("reachable", advice{"the core must run, and this machine must reach it", "doctor.md#core"}, "%s: %v", cfg.URL, err)
		return
	}
	if cfg.AdminURL != "" {
		s.checkReadiness(ctx, cfg.AdminURL, "troubleshooting.md#writes-answer-unavailable")
	}
	s.checkCoreToken(ctx, cfg)
}

// checkCoreToken makes the call of a gateway to the core.
func (s *servers) checkCoreToken(ctx context.Context, cfg CoreConfig) {
	if cfg.Token == "" {
		s.skip("token", "there is no token to call the core with; give --core-token")
		return
	}
	core, err := coreclient.New(cfg.URL, cfg.Token, coreclient.Config{Timeout: callTimeout})
	if err != nil {
		s.fail("token", advice{"correct the URL", "doctor.md#core"}, "%v", err)
		return
	}
	defer core.Close()

	err = core.Ping(ctx)
	if errors.Is(err, coreclient.ErrRefused) {
		s.fail("token", advice{
			"make another one with the keys of the core: core token --sub gateway --scope wallet:read --ttl 8760h",
			"gateway.md",
		}, "%v", err)
		return
	}
	if err != nil {
		s.fail("token", advice{"look at the core's log and its /readyz", "troubleshooting.md#writes-answer-unavailable"}, "%v", err)
		return
	}
	s.ok("token", "the core accepts it")

	err = core.CheckStreams(ctx, cfg.Keys)
	if err != nil {
		s.fail("layout", layoutAdvice, "%v", err)
		return
	}
	s.ok("layout", "the core publishes under %s (namespace/partitions)", cfg.Keys)
}

func (s *servers) checkGateway(ctx context.Context, cfg GatewayConfig) {
	if cfg.AdminURL != "" {
		s.checkReadiness(ctx, cfg.AdminURL, "troubleshooting.md#a-gateway-is-not-ready")
	}
	if cfg.URL == "" {
		return
	}
	err := s.checkServer(ctx, cfg.URL, "/asyncapi.json")
	if err != nil {
		s.fail("reachable", advice{
			"the gateway, and the load balancer in front of it, must run, and this machine must reach them",
			"doctor.md#gateways",
		}, "%s: %v", cfg.URL, err)
		return
	}
	s.checkSocket(ctx, cfg)
}

// checkServer requires that a server answers, and compares its clock.
func (s *servers) checkServer(ctx context.Context, baseURL, path string) error {
	before := time.Now()
	resp, err := s.get(ctx, strings.TrimSuffix(baseURL, "/")+path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	took := time.Since(before)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d, want 200", path, resp.StatusCode)
	}
	s.ok("reachable", "%s, in %s", baseURL, roundUp(took))

	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		s.skip("clock", "the answer has no Date")
		return nil
	}
	middle := before.Add(took / 2)
	s.compareClock(date.Sub(middle), took+time.Second) // a Date has whole seconds
	return nil
}

func (s *servers) get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return s.client.Do(req)
}

// maxReadinessBytes bounds the answer of /readyz.
const maxReadinessBytes = 64 << 10

// checkReadiness asks an admin listener for the checks of the process itself.
func (s *servers) checkReadiness(ctx context.Context, adminURL, docs string) {
	base := strings.TrimSuffix(adminURL, "/")
	resp, err := s.get(ctx, base+"/healthz")
	if err != nil {
		s.fail("healthy", advice{"the process must run, and this machine must reach its admin listener", docs}, "%v", err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.fail("healthy", advice{"the URL must be that of an admin listener", docs}, "%s/healthz: status %d, want 200", base, resp.StatusCode)
		return
	}
	s.ok("healthy", "%s/healthz", base)

	resp, err = s.get(ctx, base+"/readyz")
	if err != nil {
		s.fail("ready", advice{"the process must run", docs}, "%v", err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	s.reportReadiness(resp, docs)
}

func (s *servers) reportReadiness(resp *http.Response, docs string) {
	var readiness struct {
		Status string
		Checks map[string]string
	}
	err := json.NewDecoder(io.LimitReader(resp.Body, maxReadinessBytes)).Decode(&readiness)
	if err != nil {
		s.fail("ready", advice{"the URL must be that of an admin listener", docs}, "/readyz must be JSON: %v", err)
		return
	}

	var problems []string
	for _, name := range slices.Sorted(maps.Keys(readiness.Checks)) {
		if readiness.Checks[name] != "ok" {
			problems = append(problems, name+": "+readiness.Checks[name])
		}
	}
	found := strings.Join(append([]string{readiness.Status}, problems...), "; ")
	switch readiness.Status {
	case "ready":
		s.ok("ready", "/readyz says that %d checks are ok", len(readiness.Checks))
	case "degraded":
		s.warn("ready", advice{"mend what the check names", docs}, "%s", found)
	default:
		s.fail("ready", advice{"mend what the check names", docs}, "%s", found)
	}
}

// checkSocket makes a WebSocket handshake as an app does, and waits for the first frame.
func (s *servers) checkSocket(ctx context.Context, cfg GatewayConfig) {
	if cfg.Token == "" {
		s.skip("websocket", "a token for the handshake needs --jwt-hs256-secret")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	url := strings.TrimSuffix(cfg.URL, "/") + "/v1/ws"
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{ //nolint:bodyclose // Dial closes it
		HTTPClient:   &http.Client{Transport: s.client.Transport}, // its time limit would end the connection
		Subprotocols: []string{"wallet.v1"},
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + cfg.Token}},
	})
	if err != nil {
		s.fail("websocket", adviseHandshake(resp), "%v", err)
		return
	}
	defer func() { _ = conn.CloseNow() }()

	_, frame, err := conn.Read(ctx)
	isWelcome := strings.HasPrefix(string(frame), `{"op":"welcome"`)
	switch {
	case err != nil:
		s.fail("websocket", advice{"the proxies in front must not buffer", "gateway.md#behind-a-proxy"}, "no frame after the handshake: %v", err)
	case !isWelcome:
		s.fail("websocket", advice{"the URL must be that of a gateway", "protocol.md"}, "the first frame must be welcome")
	default:
		_ = conn.Close(websocket.StatusNormalClosure, "")
		s.ok("websocket", "handshake and the frame welcome")
	}
}

// adviseHandshake returns what to do about the answer to a handshake. resp is nil if there was none.
func adviseHandshake(resp *http.Response) advice {
	if resp == nil {
		return advice{"the gateway must be reachable", "doctor.md#gateways"}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return advice{"give core and gateways the same keys, --jwt-issuer and --jwt-audience", "troubleshooting.md#by-an-app"}
	case http.StatusOK, http.StatusBadRequest, http.StatusUpgradeRequired:
		return advice{"the proxies in front must pass on Upgrade and Connection", "gateway.md#behind-a-proxy"}
	}
	return advice{"look at the gateway's log and its /readyz", "troubleshooting.md#a-gateway-is-not-ready"}
}
