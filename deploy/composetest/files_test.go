package composetest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// heartbeat of the gateway's WebSockets; every timeout on the way must be longer.
const heartbeat = 25 * time.Second

func TestHAProxyKeepsWebSocketsLongerThanTheHeartbeat(t *testing.T) {
	config := read(t, "deploy/haproxy.cfg")
	for _, name := range []string{"tunnel", "client", "server"} {
		match := regexp.MustCompile(`(?m)^\s*timeout ` + name + ` (\S+)$`).FindStringSubmatch(config)
		if match == nil {
			t.Errorf("no timeout %s", name)
			continue
		}
		timeout, err := time.ParseDuration(match[1])
		if err != nil || timeout <= 2*heartbeat {
			t.Errorf("timeout %s is %s (%v), want more than two heartbeats of %s", name, match[1], err, heartbeat)
		}
	}
}

func TestHAProxyNamesServicesAndTheirPorts(t *testing.T) {
	p := project(t)
	config := read(t, "deploy/haproxy.cfg")
	backends := make(map[string][]string)
	adminPorts := make(map[string]string)
	backend := ""
	for line := range strings.Lines(config) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && (fields[0] == "backend" || fields[0] == "frontend"):
			backend = fields[1]
		case len(fields) >= 3 && fields[0] == "server":
			backends[backend] = append(backends[backend], fields[2])
		case len(fields) > 3 && fields[0] == "default-server":
			adminPorts[backend] = fields[slices.Index(fields, "port")+1]
		}
	}
	want := map[string][]string{"core": {"core"}, "gateways": {"gateway-1", "gateway-2"}}
	for name, services := range want {
		var addresses []string
		for _, s := range services {
			addresses = append(addresses, s+":"+port(value(service(t, p, s), "HTTP")))
			if admin := port(value(service(t, p, s), "ADMIN")); admin != adminPorts[name] {
				t.Errorf("backend %s checks port %s, %s has its admin listener on %s", name, adminPorts[name], s, admin)
			}
		}
		if !slices.Equal(backends[name], addresses) {
			t.Errorf("backend %s has the servers %v, want %v", name, backends[name], addresses)
		}
	}
	if !regexp.MustCompile(`(?m)^\s*acl websocket path /v1/ws$`).MatchString(config) {
		t.Error("HAProxy does not tell WebSockets apart by the gateway's path /v1/ws")
	}
	target := service(t, p, "haproxy").Ports[0].Target
	if !regexp.MustCompile(`(?m)^\s*bind :8080$`).MatchString(config) || target != 8080 {
		t.Errorf("HAProxy's published port leads to %d, not to where it listens", target)
	}
}

func TestPrometheusScrapesCoreAndGateways(t *testing.T) {
	p := project(t)
	config := read(t, "deploy/prometheus.yml")
	for _, name := range []string{"core", "gateway-1", "gateway-2"} {
		target := `"` + name + ":" + port(value(service(t, p, name), "ADMIN")) + `"`
		if !strings.Contains(config, target) {
			t.Errorf("Prometheus does not scrape %s", target)
		}
	}
}

func TestMakeEnvPrintsWhatComposeAsksFor(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), filepath.Join(root, "deploy", "make-env")).Output()
	if err != nil {
		t.Fatalf("make-env: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	loaded, err := load(t, lines...)
	if err != nil {
		t.Fatalf("docker-compose.yml with make-env's settings: %v", err)
	}
	gateway := service(t, loaded, "gateway-1")
	var claims struct {
		jwt.RegisteredClaims
		Accounts []string `json:"accounts"`
		Scope    string   `json:"scope"`
	}
	secret := value(service(t, loaded, "core"), "JWT_HS256_SECRET")
	if len(secret) < 32 {
		t.Errorf("the secret has %d characters", len(secret))
	}
	_, err = jwt.ParseWithClaims(value(gateway, "CORE_TOKEN"), &claims, func(*jwt.Token) (any, error) {
		return []byte(secret), nil
	}, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatalf("the core would refuse the gateways' token: %v", err)
	}
	if claims.Scope != "wallet:read" || claims.Subject == "" || len(claims.Accounts) != 0 {
		t.Errorf("the gateways' token may do %q as %q for %v", claims.Scope, claims.Subject, claims.Accounts)
	}
}
