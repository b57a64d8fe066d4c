package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxViolations ends an episode: what follows the first violations rarely says more.
const maxViolations = 10

// journal records what happened in an episode, and its violations.
type journal struct {
	start  time.Time
	report func(violation string)

	mu         sync.Mutex // protects the fields below
	lines      []string   // the faults so far
	violations int
	ended      bool
}

func newJournal(t *testing.T) *journal {
	j := &journal{start: time.Now(), report: func(text string) { t.Error(text) }}
	t.Cleanup(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.ended = true
		if t.Failed() {
			last := j.lines[max(0, len(j.lines)-200):]
			t.Logf("faults, the last %d of %d:\n%s", len(last), len(j.lines), strings.Join(last, "\n"))
		}
	})
	return j
}

// note records a step of the schedule.
func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := fmt.Sprintf("%9.3f s  ", time.Since(j.start).Seconds()) + fmt.Sprintf(format, args...)
	j.lines = append(j.lines, line)
}

// violate reports that the system broke a promise. It may be called from any goroutine.
func (j *journal) violate(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.violations++
	if j.ended || j.violations > maxViolations {
		return
	}
	recent := slices.Clone(j.lines[max(0, len(j.lines)-5):])
	j.report(fmt.Sprintf("VIOLATION at %.3f s: %s\nlast steps of the schedule:\n%s",
		time.Since(j.start).Seconds(), fmt.Sprintf(format, args...), strings.Join(recent, "\n")))
}

// isBroken reports whether there were so many violations that the episode should end.
func (j *journal) isBroken() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.violations >= maxViolations
}

// violationCount returns the number of violations so far.
func (j *journal) violationCount() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.violations
}
