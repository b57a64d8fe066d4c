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

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// heartbeat is the interval of the gateway's WebSocket pings. Every timeout between client and
// gateway must be longer.
const heartbeat = 25 * time.Second

func TestHAProxyTimeoutsAreLongerThanTwoHeartbeats(t *testing.T) {
	config := readFile(t, "deploy/haproxy.cfg")
	for _, name := range []string{"tunnel", "client", "server"} {
		match := regexp.MustCompile(`(?m)^\s*timeout ` + name + ` (\S+)$`).FindStringSubmatch(config)
		if match == nil {
			t.Errorf("haproxy.cfg must have a timeout %s", name)
			continue
		}
		timeout, err := time.ParseDuration(match[1])
		if err != nil {
			t.Errorf("timeout %s: %v", name, err)
		}
		if timeout <= 2*heartbeat {
			t.Errorf("timeout %s: got %s, want more than %s", name, timeout, 2*heartbeat)
		}
	}
}

// nginx writes durations like Go.
func TestNginxTimeoutsAreLongerThanTwoHeartbeats(t *testing.T) {
	config := readFile(t, "deploy/nginx.conf")
	for _, name := range []string{"proxy_read_timeout", "proxy_send_timeout", "send_timeout"} {
		match := regexp.MustCompile(`(?m)^\s*` + name + ` (\S+);$`).FindStringSubmatch(config)
		if match == nil {
			t.Errorf("nginx.conf must have %s", name)
			continue
		}
		timeout, err := time.ParseDuration(match[1])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if timeout <= 2*heartbeat {
			t.Errorf("%s: got %s, want more than %s", name, timeout, 2*heartbeat)
		}
	}
}

func TestNginxUsesTheServicesAndTheirPorts(t *testing.T) {
	p := mustLoad(t)
	config := readFile(t, "deploy/nginx.conf")
	for _, name := range []string{"core", "gateway-1", "gateway-2"} {
		server := "server " + name + ":" + portOf(setting(findService(t, p, name), "REALTIME_HTTP"))
		if strings.Count(config, server) != 1 {
			t.Errorf("nginx.conf must have %q once", server)
		}
	}
}

func TestHAProxyUsesTheServicesAndTheirPorts(t *testing.T) {
	p := mustLoad(t)
	config := readFile(t, "deploy/haproxy.cfg")
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
			addresses = append(addresses, s+":"+portOf(setting(findService(t, p, s), "REALTIME_HTTP")))
			if admin := portOf(setting(findService(t, p, s), "REALTIME_ADMIN")); admin != adminPorts[name] {
				t.Errorf("backend %s: got checks on port %s, want %s, the admin listener of %s", name, adminPorts[name], admin, s)
			}
		}
		if !slices.Equal(backends[name], addresses) {
			t.Errorf("backend %s: got servers %v, want %v", name, backends[name], addresses)
		}
	}
	target := findService(t, p, "haproxy").Ports[0].Target
	if target != 8080 {
		t.Errorf("haproxy: got published port for %d, want 8080", target)
	}
	if !regexp.MustCompile(`(?m)^\s*bind :8080$`).MatchString(config) {
		t.Error("haproxy.cfg must bind to port 8080")
	}
}

func TestPrometheusScrapesCoreAndGateways(t *testing.T) {
	p := mustLoad(t)
	config := readFile(t, "deploy/prometheus.yml")
	for _, name := range []string{"core", "gateway-1", "gateway-2"} {
		target := `"` + name + ":" + portOf(setting(findService(t, p, name), "REALTIME_ADMIN")) + `"`
		if !strings.Contains(config, target) {
			t.Errorf("prometheus.yml must have the target %s", target)
		}
	}
}

func TestMakeEnvWritesTheSettingsOfCompose(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	makeEnv := filepath.Join(root, "deploy", "make-env")
	err := exec.CommandContext(t.Context(), makeEnv, file).Run()
	if err != nil {
		t.Fatalf("make-env: %v", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}
	output, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = exec.CommandContext(t.Context(), makeEnv, file).Run()
	if err == nil {
		t.Error("make-env overwrites the secrets of a file")
	}

	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	loaded, err := loadProject(t, lines...)
	if err != nil {
		t.Fatalf("docker-compose.yml with make-env's settings: %v", err)
	}
	gateway := findService(t, loaded, "gateway-1")
	var claims struct {
		jwt.RegisteredClaims
		Accounts []string `json:"accounts"`
		Scope    string   `json:"scope"`
	}
	secret := setting(findService(t, loaded, "core"), "REALTIME_JWT_HS256_SECRET")
	if len(secret) < 32 {
		t.Errorf("got a secret of %d characters, want at least 32", len(secret))
	}
	_, err = jwt.ParseWithClaims(setting(gateway, "REALTIME_CORE_TOKEN"), &claims, func(*jwt.Token) (any, error) {
		return []byte(secret), nil
	}, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatalf("REALTIME_CORE_TOKEN must be valid: %v", err)
	}
	if claims.Scope != "wallet:read" {
		t.Errorf("REALTIME_CORE_TOKEN: got scope %q, want wallet:read", claims.Scope)
	}
	if claims.Subject == "" {
		t.Error("REALTIME_CORE_TOKEN: got no subject, want one")
	}
	if len(claims.Accounts) != 0 {
		t.Errorf("REALTIME_CORE_TOKEN: got accounts %v, want none", claims.Accounts)
	}
}
