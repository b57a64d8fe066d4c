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

// promtool check rules does the same.
func TestAlertRules(t *testing.T) {
	groups, errs := rulefmt.Parse(read(t, "deploy/alerts.yml"), false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	metrics := known(t)
	var names []string
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || slices.Contains(names, r.Alert) {
				t.Errorf("alert %q in %s: no name, or one that another has", r.Alert, g.Name)
			}
			names = append(names, r.Alert)
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("%s has no summary", r.Alert)
			}
			if len(check(t, r.Alert, r.Expr, metrics)) == 0 {
				t.Errorf("%s asks for no metric", r.Alert)
			}
		}
	}
	if len(names) == 0 {
		t.Error("no alerts")
	}
}

// Prometheus in docker-compose.yml finds the rules where its configuration says, and scrapes the jobs that they ask for.
func TestPrometheusLoadsTheRules(t *testing.T) {
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/prometheus.yml"), &config); err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Volumes []string }
	}
	if err := yaml.Unmarshal(read(t, "docker-compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	mounted := map[string]string{} // path in the container -> path here
	for _, v := range compose.Services["prometheus"].Volumes {
		if parts := strings.Split(v, ":"); strings.HasPrefix(v, "./") && len(parts) == 3 {
			mounted[parts[1]] = path.Clean(parts[0])
		}
	}
	const directory = "/etc/prometheus"
	if mounted[directory+"/prometheus.yml"] != "deploy/prometheus.yml" {
		t.Errorf("the configuration is mounted from %v", mounted)
	}
	if len(config.RuleFiles) != 1 || mounted[path.Join(directory, config.RuleFiles[0])] != "deploy/alerts.yml" {
		t.Errorf("the rule files %v are not deploy/alerts.yml by the mounts %v", config.RuleFiles, mounted)
	}
	var jobs []string
	for _, c := range config.ScrapeConfigs {
		jobs = append(jobs, c.JobName)
	}
	for _, job := range []string{"core", "gateway"} {
		if !slices.Contains(jobs, job) {
			t.Errorf("the rules and the dashboard ask for the job %s; there are %v", job, jobs)
		}
	}
}
