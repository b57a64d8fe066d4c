package wallet

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// runningBatches knows when the batches that run have begun.
type runningBatches struct {
	mu    sync.Mutex
	since map[*committer]time.Time
}

func (r *runningBatches) addBatch(c *committer) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.since == nil {
		r.since = make(map[*committer]time.Time)
	}

	r.since[c] = time.Now()
}

func (r *runningBatches) removeBatch(c *committer) {
	r.mu.Lock()
	defer r.mu.Unlock()

	delete(r.since, c)
}

// longest returns for how long the oldest running batch has run. It returns 0 if none runs.
func (r *runningBatches) longest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()

	longest := time.Duration(0)
	for _, since := range r.since {
		longest = max(longest, time.Since(since))
	}

	return longest
}

// commitPatience is how long a commit may run before CheckCommits reports it.
const commitPatience = 3 * time.Second

// CheckCommits returns an error while a commit takes longer than 3 s. The database may be silent or
// slow, or wait for its standby, although Ping succeeds.
func (l *Ledger) CheckCommits(context.Context) error {
	running := l.running.longest()
	if running < commitPatience {
		return nil
	}

	return fmt.Errorf("a commit must take less than %v, but one has run for %v; see the database's locks, disk and standby",
		commitPatience, running.Round(time.Second/10))
}
