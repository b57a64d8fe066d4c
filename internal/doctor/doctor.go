// Package doctor diagnoses an installation: the database, Redis, the keys of tokens, the core and
// the gateways. Each check looks and never writes. A check that fails does not keep the others from
// running, and each has a deadline.
//
// pkg/wallet, pkg/bus/redisconn and internal/auth know the facts. This package decides what is wrong
// and says what to do.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Status is the result of a check.
type Status string

// The statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works now, and should be changed
	Fail Status = "fail" // does not work, or will lose something
	Skip Status = "skip" // could not be checked, because another check failed or nothing was given
)

// docsURL begins the links to the documentation.
const docsURL = "https://github.com/redroomrewards/realtime/blob/main/docs/"

// A Result is what one check found.
type Result struct {
	Status Status `json:"status"`
	Check  string `json:"check"` // area and name, such as redis/eviction
	Found  string `json:"found"`
	Fix    string `json:"fix,omitempty"`  // what to do; only with Warn and Fail
	Docs   string `json:"docs,omitempty"` // URL of a section of the documentation; only with Warn and Fail
}

// A Report has the results of all checks.
type Report struct {
	OK       bool     `json:"ok"` // no check failed
	Failures int      `json:"failures"`
	Warnings int      `json:"warnings"`
	Results  []Result `json:"results"`
}

// ErrFailed is the error of a report with a check that failed.
var ErrFailed = errors.New("a check failed")

// Err returns ErrFailed if a check failed.
func (r *Report) Err() error {
	if r.OK {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrFailed, r.summarize())
}

// areaTimeout bounds the checks of one area.
const areaTimeout = time.Minute

// An Area makes the checks of one part of the installation.
type Area struct {
	name string
	run  func(ctx context.Context, c *collector)
}

// Run makes the checks of all areas at the same time. It returns the results in the order of the
// areas, and an error only if ctx ended before the checks were done.
func Run(ctx context.Context, areas ...Area) (*Report, error) {
	collectors := make([]*collector, len(areas))
	var wg sync.WaitGroup
	for i, area := range areas {
		collectors[i] = &collector{area: area.name}
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, areaTimeout)
			defer cancel()
			area.run(limited, collectors[i])
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the checks were interrupted: %w", context.Cause(ctx))
	}

	report := &Report{}
	for _, c := range collectors {
		report.addResults(c.results)
	}
	report.OK = report.Failures == 0
	return report, nil
}

func (r *Report) addResults(results []Result) {
	for _, result := range results {
		switch result.Status {
		case Fail:
			r.Failures++
		case Warn:
			r.Warnings++
		case OK, Skip:
		}
		r.Results = append(r.Results, result)
	}
}

// collector gathers the results of one area.
type collector struct {
	area    string
	results []Result
}

func (c *collector) add(status Status, check, found string, a advice) {
	result := Result{
		Status: status,
		Check:  c.area + "/" + check,
		Found:  found,
		Fix:    a.fix,
	}
	if a.docs != "" {
		result.Docs = docsURL + a.docs
	}
	c.results = append(c.results, result)
}

// advice is what to do about a finding.
type advice struct {
	fix  string
	docs string // page#section below docs/
}

// roundUp returns a time for people, at least 1ms.
func roundUp(d time.Duration) time.Duration {
	return max(d.Round(time.Millisecond), time.Millisecond)
}

func (c *collector) ok(check, format string, args ...any) {
	c.add(OK, check, fmt.Sprintf(format, args...), advice{})
}

func (c *collector) skip(check, format string, args ...any) {
	c.add(Skip, check, fmt.Sprintf(format, args...), advice{})
}

func (c *collector) warn(check string, a advice, format string, args ...any) {
	c.add(Warn, check, fmt.Sprintf(format, args...), a)
}

func (c *collector) fail(check string, a advice, format string, args ...any) {
	c.add(Fail, check, fmt.Sprintf(format, args...), a)
}
