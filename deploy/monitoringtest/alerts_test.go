package monitoringtest_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"
)

// The test parses the rules like `promtool check rules`.
func TestAlertRulesAreComplete(t *testing.T) {
	alerts, records := readRules(t)
	metrics := knownMetrics(t)
	for _, r := range records {
		checkExpression(t, r.Record, r.Expr, metrics)
	}
	var names []string
	for _, r := range alerts {
		if slices.Contains(names, r.Alert) {
			t.Errorf("the name %s must be unique", r.Alert)
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
	if len(names) == 0 {
		t.Error("got no alerts, want some")
	}
}

// Each metric that docs/metrics.md marks as an alarm must be in the expression of an alert.
func TestAlarmsHaveAlerts(t *testing.T) {
	alerts, _ := readRules(t)
	metrics := knownMetrics(t)
	alerted := map[string]bool{}
	for _, r := range alerts {
		for _, name := range checkExpression(t, r.Alert, r.Expr, metrics) {
			alerted[name] = true
		}
	}
	alarms := 0
	for name, m := range metrics {
		if !m.isAlarm {
			continue
		}
		alarms++
		if !alerted[name] {
			t.Errorf("docs/metrics.md marks %s as an alarm, so deploy/alerts.yml must have an alert with it", name)
		}
	}
	if alarms == 0 {
		t.Error("docs/metrics.md must mark some metrics as alarms")
	}
}

// Each alert must link to its section of the runbook, and each section of the runbook must be about
// an alert.
func TestRunbookHasASectionForEachAlert(t *testing.T) {
	alerts, _ := readRules(t)
	var sections []string
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(readFile(t, "docs/runbook.md")), -1) {
		sections = append(sections, heading[1])
	}
	const page = "https://github.com/redroomrewards/realtime/blob/main/docs/runbook.md#"
	for _, r := range alerts {
		if got, want := r.Annotations["runbook_url"], page+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: got runbook_url %q, want %q", r.Alert, got, want)
		}
		if !slices.Contains(sections, r.Alert) {
			t.Errorf("docs/runbook.md must have a section %s", r.Alert)
		}
	}
	for _, section := range sections {
		if !slices.ContainsFunc(alerts, func(r rulefmt.Rule) bool { return r.Alert == section }) {
			t.Errorf("docs/runbook.md has the section %s, but there is no such alert", section)
		}
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
