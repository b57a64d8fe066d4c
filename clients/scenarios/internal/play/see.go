package play

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/match"
)

// An expectation is something that the app must see.
type expectation struct {
	kind     string
	value    map[string]any
	optional bool
}

// playSee waits until the app has seen everything that is expected.
func (p *player) playSee(value any) error {
	expected, err := parseExpectations(value)
	if err != nil {
		return err
	}
	ctx, cancel := p.context()
	defer cancel()
	err = p.inbox.wait(ctx, func() (bool, error) {
		done := true
		for c, pending := range expected {
			rest, err := p.takeReports(c, pending)
			if err != nil {
				return false, err
			}
			expected[c] = rest
			done = done && len(withoutOptional(rest)) == 0
		}
		return done, nil
	})
	if errors.Is(err, errTimeout) {
		return fmt.Errorf("the app must see %s: %w", describe(expected), err)
	}
	if err != nil {
		return err
	}
	return p.takeOptional(expected)
}

// takeOptional takes the reports that are still optional, after everything has settled.
func (p *player) takeOptional(expected map[channel][]expectation) error {
	remaining := 0
	for _, pending := range expected {
		remaining += len(pending)
	}
	if remaining == 0 {
		return nil
	}
	if err := p.settle(); err != nil {
		return err
	}
	p.inbox.mu.Lock()
	defer p.inbox.mu.Unlock()
	for c, pending := range expected {
		if _, err := p.takeReports(c, pending); err != nil {
			return err
		}
	}
	return nil
}

func parseExpectations(value any) (map[channel][]expectation, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("what the app sees must be a list")
	}
	expected := map[channel][]expectation{}
	for _, element := range list {
		object, _ := element.(map[string]any)
		var e expectation
		for name, v := range object {
			if name == "optional" {
				e.optional = v == true
				continue
			}
			e.kind = name
			e.value, _ = v.(map[string]any)
		}
		if _, known := kinds[e.kind]; !known || e.value == nil {
			return nil, fmt.Errorf("an expectation must have a known kind: %s", match.Text(element))
		}
		c := channelOf(e.kind, e.value)
		expected[c] = append(expected[c], e)
	}
	return expected, nil
}

// takeReports takes the reports of a channel that are expected, and returns the expectations that
// remain. A report that is not expected is an error.
func (p *player) takeReports(c channel, pending []expectation) ([]expectation, error) {
	for len(p.inbox.reports[c]) > 0 && len(pending) > 0 {
		report := p.inbox.reports[c][0]
		skipped, err := p.findExpected(pending, report)
		if err != nil {
			return nil, err
		}
		p.inbox.reports[c] = p.inbox.reports[c][1:]
		pending = pending[skipped+1:]
	}
	return pending, nil
}

// findExpected returns how many expectations come before the one that the report fulfills. Only
// optional ones and the values of levels can be skipped.
func (p *player) findExpected(pending []expectation, report map[string]any) (int, error) {
	var all []string
	for i, e := range pending {
		err := p.compareReport(e, report)
		if err == nil {
			return i, nil
		}
		all = append(all, fmt.Sprintf("  expected %s %s: %v", e.kind, match.Text(e.value), err))
		if !e.optional && !kinds[e.kind].level {
			break
		}
	}
	return 0, fmt.Errorf("the app saw %s\n%s", match.Text(report), strings.Join(all, "\n"))
}

func (p *player) compareReport(e expectation, report map[string]any) error {
	if report["report"] != e.kind {
		return fmt.Errorf("the report is another: %v", report["report"])
	}
	return match.Compare(e.value, report, p.vars)
}

func withoutOptional(pending []expectation) []expectation {
	var needed []expectation
	for _, e := range pending {
		if !e.optional {
			needed = append(needed, e)
		}
	}
	return needed
}

func describe(expected map[channel][]expectation) string {
	var all []string
	for _, pending := range expected {
		for _, e := range withoutOptional(pending) {
			all = append(all, e.kind+" "+match.Text(e.value))
		}
	}
	return strings.Join(all, ", ")
}
