package monitoringtest_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

const root = "../.."

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

type metric struct {
	kind    string // counter, gauge, histogram, summary
	section string // of docs/metrics.md
	labels  []string
	isAlarm bool
}

// knownMetrics returns the metrics of docs/metrics.md, which other tests compare with the exported
// metrics, those of the recording rules, and some metrics of Prometheus and of its client library.
func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	found := map[string]metric{
		"up":                            {kind: "gauge"},
		"go_gc_duration_seconds":        {kind: "summary", labels: []string{"quantile"}},
		"go_goroutines":                 {kind: "gauge"},
		"process_cpu_seconds_total":     {kind: "counter"},
		"process_max_fds":               {kind: "gauge"},
		"process_open_fds":              {kind: "gauge"},
		"process_resident_memory_bytes": {kind: "gauge"},
	}
	_, records := readRules(t)
	for _, r := range records {
		found[r.Record] = metric{kind: "gauge", labels: slices.Collect(maps.Keys(r.Labels))}
	}
	section := ""
	for line := range strings.Lines(string(readFile(t, "docs/metrics.md"))) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
		}
		cells := strings.Split(line, " | ")
		if len(cells) != 3 {
			continue
		}
		kinds := strings.Split(cells[1], ", ")
		for i, name := range regexp.MustCompile("`(\\w+)(?:\\{([\\w,]+)\\})?`").FindAllStringSubmatch(cells[0], -1) {
			found[name[1]] = metric{
				kind:    kinds[min(i, len(kinds)-1)],
				section: section,
				labels:  strings.Split(name[2], ","),
				isAlarm: strings.Contains(cells[2], "**Alarm**"),
			}
		}
	}
	return found
}

// checkExpression checks an expression and returns its metrics.
func checkExpression(t *testing.T, where, expression string, metrics map[string]metric) []string {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %s: %v", where, expression, err)
		return nil
	}
	var names []string
	labels := []string{"job", "instance"} // Prometheus adds these
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, base := findMetric(metrics, selector.Name)
		if m.kind == "" {
			t.Errorf("%s: %s must be in docs/metrics.md", where, selector.Name)
			return nil
		}
		names = append(names, base)
		allowed := append(slices.Clone(m.labels), "job", "instance")
		if strings.HasSuffix(selector.Name, "_bucket") {
			allowed = append(allowed, "le")
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != "__name__" && !slices.Contains(allowed, matcher.Name) {
				t.Errorf("%s: unknown label %s of %s", where, matcher.Name, selector.Name)
			}
		}
		labels = append(labels, allowed...)
		isCounter := m.kind == "counter" || m.kind == "histogram"
		if isCounter && !isUnderRate(path) {
			t.Errorf("%s: %s is a %s and must be in rate or increase", where, selector.Name, m.kind)
		}
		if !isCounter && isUnderRate(path) {
			t.Errorf("%s: %s is a %s and must not be in rate or increase", where, selector.Name, m.kind)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, name := range a.Grouping {
				if !slices.Contains(labels, name) {
					t.Errorf("%s: one of %v must have the label %s", where, names, name)
				}
			}
		}
		return nil
	})
	return names
}

// findMetric returns a metric. The expression uses the parts of a histogram: base is the name
// without suffix.
func findMetric(metrics map[string]metric, name string) (m metric, base string) {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && metrics[base].kind == "histogram" {
			return metrics[base], base
		}
	}
	if metrics[name].kind == "histogram" {
		return metric{}, name // only the parts of a histogram exist
	}
	return metrics[name], name
}

// isUnderRate reports whether the path contains a call of rate or increase.
func isUnderRate(path []parser.Node) bool {
	return slices.ContainsFunc(path, func(node parser.Node) bool {
		call, ok := node.(*parser.Call)
		return ok && (call.Func.Name == "rate" || call.Func.Name == "increase")
	})
}
