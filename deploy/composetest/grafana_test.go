package composetest_test

import (
	"encoding/json"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/compose-spec/compose-go/v2/types"
)

// mountedAt returns the file of this repository that a service has at a path.
func mountedAt(t *testing.T, s types.ServiceConfig, target string) string {
	t.Helper()
	i := slices.IndexFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target })
	if i < 0 {
		t.Fatalf("%s must have a file at %s", s.Name, target)
	}
	directory, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	name, err := filepath.Rel(directory, s.Volumes[i].Source)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func mustParse(t *testing.T, name string, into any) {
	t.Helper()
	err := yaml.Unmarshal([]byte(readFile(t, name)), into)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestGrafanaUsesThePrometheusOfCompose(t *testing.T) {
	p := mustLoad(t)
	var config struct {
		Datasources []struct {
			Type, URL string
			IsDefault bool           `yaml:"isDefault"`
			JSONData  map[string]any `yaml:"jsonData"`
		}
	}
	mustParse(t, mountedAt(t, findService(t, p, "grafana"), "/etc/grafana/provisioning/datasources/realtime.yml"), &config)
	if len(config.Datasources) != 1 {
		t.Fatalf("got %d datasources, want 1", len(config.Datasources))
	}
	d := config.Datasources[0]
	if want := "http://prometheus:9090"; d.URL != want || d.Type != "prometheus" || !d.IsDefault {
		t.Errorf("got %+v, want the default datasource prometheus at %s", d, want)
	}
	var prometheus struct {
		Global struct {
			ScrapeInterval string `yaml:"scrape_interval"`
		}
	}
	mustParse(t, "deploy/prometheus.yml", &prometheus)
	if got := d.JSONData["timeInterval"]; got != prometheus.Global.ScrapeInterval {
		t.Errorf("got timeInterval %v, want the scrape interval %s", got, prometheus.Global.ScrapeInterval)
	}
}

// The dashboard of docs is in the directory that Grafana reads, and is its home page.
func TestGrafanaLoadsTheDashboard(t *testing.T) {
	s := findService(t, mustLoad(t), "grafana")
	var config struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	mustParse(t, mountedAt(t, s, "/etc/grafana/provisioning/dashboards/realtime.yml"), &config)
	if len(config.Providers) != 1 || config.Providers[0].Type != "file" {
		t.Fatalf("got providers %+v, want one of type file", config.Providers)
	}
	home := setting(s, "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
	if got := path.Dir(home); got != config.Providers[0].Options.Path {
		t.Errorf("got the home page in %s, want it in %s, which Grafana reads", got, config.Providers[0].Options.Path)
	}
	name := mountedAt(t, s, home)
	if name != filepath.FromSlash("docs/grafana-dashboard.json") {
		t.Errorf("got the dashboard %s, want that of docs", name)
	}
	if !json.Valid([]byte(readFile(t, name))) {
		t.Errorf("%s must be JSON", name)
	}
}

// Nobody has to log in, so nobody must be able to change anything or to log in with the password
// that Grafana begins with.
func TestGrafanaIsForViewersOnly(t *testing.T) {
	s := findService(t, mustLoad(t), "grafana")
	for name, want := range map[string]string{
		"GF_AUTH_ANONYMOUS_ENABLED":                  "true",
		"GF_AUTH_ANONYMOUS_ORG_ROLE":                 "Viewer",
		"GF_AUTH_BASIC_ENABLED":                      "false",
		"GF_AUTH_DISABLE_LOGIN_FORM":                 "true",
		"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
		"GF_USERS_ALLOW_SIGN_UP":                     "false",
	} {
		if got := setting(s, name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("got port %s published on %q, want 127.0.0.1", port.Published, port.HostIP)
		}
	}
}
