package monitoringtest_test

import (
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// The test parses the rules like `promtool check rules`.
func TestAlertRulesAreComplete(t *testing.T) {
	content := readFile(t, "deploy/alerts.yml")
	groups, errs := rulefmt.Parse(content, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	metrics := knownMetrics(t)
	var names []string
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				t.Errorf("group %s: an alert must have a name", g.Name)
			}
			if slices.Contains(names, r.Alert) {
				t.Errorf("group %s: the name %s must be unique", g.Name, r.Alert)
			}
			names = append(names, r.Alert)
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: got severity %q, want critical or warning", r.Alert, s)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("%s must have a summary", r.Alert)
			}
			if len(checkExpression(t, r.Alert, r.Expr, metrics)) == 0 {
				t.Errorf("%s must use a metric", r.Alert)
			}
		}
	}
	if len(names) == 0 {
		t.Error("got no alerts, want some")
	}
}

// docker-compose.yml must mount the rules at the path in the configuration of Prometheus.
// Prometheus must scrape the jobs that the rules use.
func TestPrometheusLoadsTheRules(t *testing.T) {
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(readFile(t, "deploy/prometheus.yml"), &config); err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Volumes []string }
	}
	if err := yaml.Unmarshal(readFile(t, "docker-compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	mounted := map[string]string{} // path in the container -> path here
	for _, v := range compose.Services["prometheus"].Volumes {
		parts := strings.Split(v, ":")
		if strings.HasPrefix(v, "./") && len(parts) == 3 {
			mounted[parts[1]] = path.Clean(parts[0])
		}
	}
	const directory = "/etc/prometheus"
	if got, want := mounted[directory+"/prometheus.yml"], "deploy/prometheus.yml"; got != want {
		t.Errorf("got configuration from %q, want %q", got, want)
	}
	if len(config.RuleFiles) != 1 {
		t.Fatalf("got rule files %v, want one", config.RuleFiles)
	}
	if got, want := mounted[path.Join(directory, config.RuleFiles[0])], "deploy/alerts.yml"; got != want {
		t.Errorf("got rules from %q, want %q", got, want)
	}
	var jobs []string
	for _, c := range config.ScrapeConfigs {
		jobs = append(jobs, c.JobName)
	}
	for _, job := range []string{"core", "gateway"} {
		if !slices.Contains(jobs, job) {
			t.Errorf("got jobs %v, want %s among them", jobs, job)
		}
	}
}
