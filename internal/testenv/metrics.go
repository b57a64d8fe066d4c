package testenv

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// CheckMetrics compares the metrics of a registry with the tables of docs/metrics.md whose heading
// begins with section. It compares names and labels, and the types of metrics that have a value.
// Histograms of durations must have fine enough buckets.
func CheckMetrics(t testing.TB, reg *prometheus.Registry, section string) {
	t.Helper()

	documented := readDocumentedMetrics(t, section)
	exported := describeMetrics(t, reg)
	for name, labels := range exported {
		doc, found := documented[name]
		if !found {
			t.Errorf("%s{%s} is not in docs/metrics.md under %q", name, labels, section)
		} else if doc.labels != labels {
			t.Errorf("labels of %s: got {%s}, want {%s} as in docs/metrics.md", name, labels, doc.labels)
		}
	}

	for name := range documented {
		_, found := exported[name]
		if !found {
			t.Errorf("%s is in docs/metrics.md under %q, but it is not exported", name, section)
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

var metricDesc = regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*)\}\}$`)

// describeMetrics returns the labels of each exported metric, without those of the Go runtime and
// of the process.
func describeMetrics(t testing.TB, reg *prometheus.Registry) map[string]string {
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

	labels := map[string]string{}
	for _, d := range all {
		parts := metricDesc.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("cannot parse %s", d)
		}

		name := parts[1]
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			labels[name] = parts[2]
		}
	}

	return labels
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

// readDocumentedMetrics reads the table rows of docs/metrics.md, which have the form
// | `a_total{x,y}`, `b_seconds` | counter, histogram | description |.
func readDocumentedMetrics(t testing.TB, section string) map[string]documentedMetric {
	t.Helper()

	raw, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}

	metrics := map[string]documentedMetric{}
	inSection := false
	for line := range strings.Lines(string(raw)) {
		heading, isHeading := strings.CutPrefix(line, "## ")
		if isHeading {
			inSection = strings.HasPrefix(heading, section)
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
		t.Fatalf("docs/metrics.md has no metrics under %q", section)
	}

	return metrics
}
