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

// Metrics are values by metric name. The values of one name are added up over all labels.
type Metrics map[string]float64

// Metrics reads the metrics of the server. A server without an admin listener has none.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	if s.Admin == "" {
		return Metrics{}, nil
	}

	var m Metrics
	err := s.getAdmin(ctx, answerTime, "/metrics", func(body io.Reader) (err error) {
		m, err = parseMetrics(body)
		return err
	})
	return m, err
}

// CollectGarbage runs the garbage collector of the server four times. A pool is empty after two
// collections, and each collection halves a stack that is too large.
func (s *Server) CollectGarbage(ctx context.Context) error {
	for range 4 {
		err := s.getAdmin(ctx, answerTime, "/debug/pprof/heap?gc=1", func(body io.Reader) error {
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
	timeout := time.Duration(seconds)*time.Second + answerTime
	return s.writeProfile(ctx, timeout, "profile?seconds="+strconv.Itoa(seconds), file)
}

// SaveProfile writes another profile, such as heap or allocs, to a file.
func (s *Server) SaveProfile(ctx context.Context, name, file string) error {
	return s.writeProfile(ctx, answerTime, name, file)
}

func (s *Server) writeProfile(ctx context.Context, timeout time.Duration, profile, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return s.getAdmin(ctx, timeout, "/debug/pprof/"+profile, func(body io.Reader) error {
		_, err := io.Copy(out, body)
		return err
	})
}

// answerTime is the timeout for an answer that needs no waiting, on a busy machine.
const answerTime = 30 * time.Second

// getAdmin gets a page of the admin listener.
func (s *Server) getAdmin(ctx context.Context, timeout time.Duration, path string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
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

// Since returns the increase of each metric.
func (m Metrics) Since(before Metrics) Metrics {
	grown := make(Metrics, len(m))
	for name, v := range m {
		grown[name] = v - before[name]
	}

	return grown
}

// parseMetrics parses the text format of Prometheus: name{labels} value.
func parseMetrics(r io.Reader) (Metrics, error) {
	m := make(Metrics)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}

		name, rest, _ := strings.Cut(line, " ")
		begin := strings.IndexByte(line, '{')
		hasLabels := begin >= 0 && begin < len(name)
		if hasLabels {
			end := strings.LastIndexByte(line, '}')
			if end < begin {
				return nil, fmt.Errorf("parse metrics: %q must have an end of its labels", line)
			}

			name = line[:begin]
			rest = line[end+1:]
		}

		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // there may be a timestamp after the value
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("parse metrics: %q must have a value", line)
		}

		m[name] += v
	}

	return m, lines.Err()
}
