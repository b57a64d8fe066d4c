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
	var m Metrics
	err := s.admin(ctx, "/metrics", func(body io.Reader) (err error) {
		m, err = parseMetrics(body)
		return err
	})
	return m, err
}

// CollectGarbage has the server do so, and writes a heap profile to w. It does it
// several times: what a pool holds goes at the second, and a stack that has become
// too large loses half of itself each time.
func (s *Server) CollectGarbage(ctx context.Context, w io.Writer) error {
	const times = 4
	for n := range times {
		err := s.admin(ctx, "/debug/pprof/heap?gc=1", func(body io.Reader) error {
			if n < times-1 {
				_, err := io.Copy(io.Discard, body)
				return err
			}
			_, err := io.Copy(w, body)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Profile writes a CPU profile of so many seconds to w.
func (s *Server) Profile(ctx context.Context, seconds int, w io.Writer) error {
	return s.admin(ctx, "/debug/pprof/profile?seconds="+strconv.Itoa(seconds), func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

// admin GETs a page of the admin listener.
func (s *Server) admin(ctx context.Context, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return read(response.Body)
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
