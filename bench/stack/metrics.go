package stack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Metrics are values by metric name, those of one name added up over their
// labels.
type Metrics map[string]float64

// Metrics reads the server's metrics. One without an admin listener has none.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	if s.Admin == "" {
		return Metrics{}, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", response.Status)
	}
	return parseMetrics(response.Body)
}

// Since is how much each metric grew.
func (m Metrics) Since(before Metrics) Metrics {
	grown := make(Metrics, len(m))
	for name, v := range m {
		grown[name] = v - before[name]
	}
	return grown
}

// parseMetrics reads the Prometheus text format: name{labels} value.
func parseMetrics(r io.Reader) (Metrics, error) {
	m := make(Metrics)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if i := strings.IndexByte(line, '{'); i >= 0 && i < len(name) {
			end := strings.LastIndexByte(line, '}')
			if end < i {
				return nil, fmt.Errorf("metrics: %q has no end of its labels", line)
			}
			name, rest = line[:i], line[end+1:]
		}
		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a timestamp may follow
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q has no value", line)
		}
		m[name] += v
	}
	return m, lines.Err()
}
