package testenv

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// CheckMetrics compares what a registry exports with the tables of docs/metrics.md whose heading begins with section:
// names, labels and, of those that can be seen already, types. Histograms of time have to tell apart what matters.
func CheckMetrics(t testing.TB, reg *prometheus.Registry, section string) {
	t.Helper()
	documented := documentedMetrics(t, section)
	exported := map[string]string{}
	descs := make(chan *prometheus.Desc)
	go func() { reg.Describe(descs); close(descs) }()
	var all []*prometheus.Desc // before any is judged: a test that ends here would leave Describe waiting
	for d := range descs {
		all = append(all, d)
	}
	form := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*)\}\}$`)
	for _, d := range all {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if !strings.HasPrefix(m[1], "go_") && !strings.HasPrefix(m[1], "process_") {
			exported[m[1]] = m[2]
		}
	}
	for name, labels := range exported {
		if doc, ok := documented[name]; !ok {
			t.Errorf("%s{%s} is not in docs/metrics.md under %q", name, labels, section)
		} else if doc.labels != labels {
			t.Errorf("%s has the labels {%s}, docs/metrics.md says {%s}", name, labels, doc.labels)
		}
	}
	for name := range documented {
		if _, ok := exported[name]; !ok {
			t.Errorf("docs/metrics.md has %s under %q, which is not exported", name, section)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		doc, ok := documented[f.GetName()]
		if kind := strings.ToLower(f.GetType().String()); ok && kind != doc.kind {
			t.Errorf("%s is a %s, docs/metrics.md says %s", f.GetName(), kind, doc.kind)
		}
		if f.GetType() == dto.MetricType_HISTOGRAM && strings.HasSuffix(f.GetName(), "_seconds") {
			checkBuckets(t, f.GetName(), f.GetMetric()[0].GetHistogram().GetBucket())
		}
	}
}

// checkBuckets wants the buckets of a duration to reach from a millisecond to seconds, in steps that leave a quantile
// within a factor of 2.5 up to a second.
func checkBuckets(t testing.TB, name string, buckets []*dto.Bucket) {
	t.Helper()
	if first, last := buckets[0].GetUpperBound(), buckets[len(buckets)-1].GetUpperBound(); first > 0.001 || last < 2.5 {
		t.Errorf("%s: buckets from %v s to %v s; want them from 1 ms to seconds", name, first, last)
	}
	for i := 1; i < len(buckets); i++ {
		if low, high := buckets[i-1].GetUpperBound(), buckets[i].GetUpperBound(); high <= 1 && high > 2.5*low {
			t.Errorf("%s: nothing between %v s and %v s", name, low, high)
		}
	}
}

type documentedMetric struct{ labels, kind string }

// documentedMetrics reads rows such as: | `a_total{x,y}`, `b_seconds` | counter, histogram | what |.
func documentedMetrics(t testing.TB, section string) map[string]documentedMetric {
	t.Helper()
	raw, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]documentedMetric{}
	within := false
	for line := range strings.Lines(string(raw)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			within = strings.HasPrefix(heading, section)
		}
		cells := strings.Split(line, " | ")
		names := regexp.MustCompile("`(\\w+)(?:\\{([\\w,]+)\\})?`").FindAllStringSubmatch(cells[0], -1)
		if !within || len(cells) != 3 || len(names) == 0 {
			continue
		}
		kinds := strings.Split(cells[1], ", ")
		for i, n := range names {
			found[n[1]] = documentedMetric{labels: n[2], kind: kinds[min(i, len(kinds)-1)]}
		}
		if !slices.Contains([]int{1, len(names)}, len(kinds)) {
			t.Error(fmt.Sprintf("docs/metrics.md: %d types for %d metrics: ", len(kinds), len(names)), line)
		}
	}
	if len(found) == 0 {
		t.Fatalf("docs/metrics.md has no metrics under %q", section)
	}
	return found
}
