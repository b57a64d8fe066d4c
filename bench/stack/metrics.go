package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
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
	err := s.admin(ctx, answerTime, "/metrics", func(body io.Reader) (err error) {
		m, err = parseMetrics(body)
		return err
	})
	return m, err
}

// CollectGarbage has the server do so several times: what a pool holds goes at the
// second, and a stack that has become too large loses half of itself each time.
func (s *Server) CollectGarbage(ctx context.Context) error {
	for range 4 {
		err := s.admin(ctx, answerTime, "/debug/pprof/heap?gc=1", func(body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SaveCPUProfile writes a CPU profile of the next d, in whole seconds, to a file.
func (s *Server) SaveCPUProfile(ctx context.Context, d time.Duration, file string) error {
	seconds := max(1, int(d.Seconds()))
	return s.save(ctx, time.Duration(seconds)*time.Second+answerTime, "profile?seconds="+strconv.Itoa(seconds), file)
}

// SaveProfile writes another profile, such as heap or allocs, to a file.
func (s *Server) SaveProfile(ctx context.Context, name, file string) error {
	return s.save(ctx, answerTime, name, file)
}

func (s *Server) save(ctx context.Context, within time.Duration, profile, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return s.admin(ctx, within, "/debug/pprof/"+profile, func(body io.Reader) error {
		_, err := io.Copy(out, body)
		return err
	})
}

// answerTime is for what a server answers at once, on a busy machine.
const answerTime = 30 * time.Second

// admin GETs a page of the admin listener.
func (s *Server) admin(ctx context.Context, within time.Duration, path string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
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
