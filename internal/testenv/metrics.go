package testenv

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// CheckMetrics compares the metrics of a registry with the tables of docs/metrics.md whose headings
// begin with one of the sections. It compares names and labels, and the types of metrics that have
// a value. Names and help texts must follow the conventions of Prometheus and of this project.
// Histograms of durations must have fine enough buckets.
func CheckMetrics(t testing.TB, reg *prometheus.Registry, sections ...string) {
	t.Helper()

	documented := readDocumentedMetrics(t, sections)
	exported := describeMetrics(t, reg)
	for name, m := range exported {
		doc, found := documented[name]
		if !found {
			t.Errorf("%s{%s} is not in docs/metrics.md under %q", name, m.labels, sections)
			continue
		}

		if doc.labels != m.labels {
			t.Errorf("labels of %s: got {%s}, want {%s} as in docs/metrics.md", name, m.labels, doc.labels)
		}

		checkNaming(t, name, m.help, doc.kind)
	}

	for name := range documented {
		_, found := exported[name]
		if !found {
			t.Errorf("%s is in docs/metrics.md under %q, but it is not exported", name, sections)
		}
	}

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}

	for _, f := range families {
		name := f.GetName()
		kind := strings.ToLower(f.GetType().String())
		doc, found := documented[name]
		if found && kind != doc.kind {
			t.Errorf("type of %s: got %s, want %s as in docs/metrics.md", name, kind, doc.kind)
		}

		if f.GetType() == dto.MetricType_HISTOGRAM && strings.HasSuffix(name, "_seconds") {
			checkBuckets(t, name, f.GetMetric()[0].GetHistogram().GetBucket())
		}
	}
}

// startsWithDuration matches the help text of a metric whose value is a duration or a time.
var startsWithDuration = regexp.MustCompile(`^(?:Age|Duration|Time|Seconds|When|How long)\b`)

// checkNaming checks the name and the help text of a metric with the linter of Prometheus. It also
// wants the prefix of this project, and a unit in the name of each duration.
func checkNaming(t testing.TB, name, help, kind string) {
	t.Helper()

	value, found := dto.MetricType_value[strings.ToUpper(kind)]
	if !found {
		t.Errorf("docs/metrics.md: type of %s: got %q, want counter, gauge or histogram", name, kind)
	}

	metricType := dto.MetricType(value)
	problems, err := promlint.NewWithMetricFamilies([]*dto.MetricFamily{
		{Name: &name, Help: &help, Type: &metricType},
	}).Lint()
	if err != nil {
		t.Fatal(err)
	}

	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	if !strings.HasPrefix(name, "realtime_") {
		t.Errorf("%s must begin with realtime_", name)
	}

	if startsWithDuration.MatchString(help) && !strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_seconds") {
		t.Errorf("%s must end in _seconds, since its help text is %q", name, help)
	}
}

type exportedMetric struct {
	labels string
	help   string
}

var metricDesc = regexp.MustCompile(`fqName: "(\w+)", help: (".*?"), unit: .*constLabels: .*variableLabels: \{(.*)\}\}$`)

// describeMetrics returns the exported metrics by name, without those of the Go runtime and of the
// process.
func describeMetrics(t testing.TB, reg *prometheus.Registry) map[string]exportedMetric {
	t.Helper()

	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	// Read all before a Fatal: otherwise Describe would wait for ever.
	var all []*prometheus.Desc
	for d := range descs {
		all = append(all, d)
	}

	metrics := map[string]exportedMetric{}
	for _, d := range all {
		parts := metricDesc.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("cannot parse %s", d)
		}

		name := parts[1]
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}

		help, err := strconv.Unquote(parts[2])
		if err != nil {
			t.Fatalf("cannot parse the help text of %s: %v", d, err)
		}

		metrics[name] = exportedMetric{labels: parts[3], help: help}
	}

	return metrics
}

// checkBuckets wants the buckets of a duration to reach from a millisecond to seconds. Up to a
// second each bound is at most 2.5 times the one before, so a quantile is known within that factor.
func checkBuckets(t testing.TB, name string, buckets []*dto.Bucket) {
	t.Helper()

	first := buckets[0].GetUpperBound()
	if first > 0.001 {
		t.Errorf("first bucket of %s: got %v s, want at most 1 ms", name, first)
	}

	last := buckets[len(buckets)-1].GetUpperBound()
	if last < 2.5 {
		t.Errorf("last bucket of %s: got %v s, want at least 2.5 s", name, last)
	}

	for i := 1; i < len(buckets); i++ {
		low := buckets[i-1].GetUpperBound()
		high := buckets[i].GetUpperBound()
		if high <= 1 && high > 2.5*low {
			t.Errorf("buckets of %s: got none between %v s and %v s", name, low, high)
		}
	}
}

type documentedMetric struct {
	labels string
	kind   string
}

var documentedName = regexp.MustCompile("`(\\w+)(?:\\{([\\w,]+)\\})?`")

// readMetricsPage returns docs/metrics.md of the repository that contains the working directory.
func readMetricsPage(t testing.TB) string {
	t.Helper()

	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}

	for {
		raw, err := os.ReadFile(filepath.Join(dir, "docs", "metrics.md"))
		if err == nil {
			return string(raw)
		}

		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("docs/metrics.md must be in a directory above the test")
		}
		dir = parent
	}
}

// readDocumentedMetrics reads the table rows of docs/metrics.md, which have the form
// | `a_total{x,y}`, `b_seconds` | counter, histogram | description |.
func readDocumentedMetrics(t testing.TB, sections []string) map[string]documentedMetric {
	t.Helper()

	raw := readMetricsPage(t)

	metrics := map[string]documentedMetric{}
	inSection := false
	for line := range strings.Lines(raw) {
		heading, isHeading := strings.CutPrefix(line, "## ")
		if isHeading {
			inSection = slices.ContainsFunc(sections, func(s string) bool { return strings.HasPrefix(heading, s) })
		}

		cells := strings.Split(line, " | ")
		names := documentedName.FindAllStringSubmatch(cells[0], -1)
		if !inSection || len(cells) != 3 || len(names) == 0 {
			continue
		}

		kinds := strings.Split(cells[1], ", ")
		if len(kinds) != 1 && len(kinds) != len(names) {
			t.Errorf("docs/metrics.md: got %d types for %d metrics: %s", len(kinds), len(names), line)
		}

		for i, name := range names {
			kind := kinds[min(i, len(kinds)-1)]
			metrics[name[1]] = documentedMetric{labels: name[2], kind: kind}
		}
	}

	if len(metrics) == 0 {
		t.Fatalf("docs/metrics.md has no metrics under %q", sections)
	}

	return metrics
}
