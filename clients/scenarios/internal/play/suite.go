package play

import (
	"sync"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/adapter"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
)

// startTimeout bounds how long an adapter may take to say hello.
const startTimeout = time.Minute

// A Suite plays scenarios in several adapters at a time.
type Suite struct {
	Command  []string      // starts an adapter
	Wait     time.Duration // for everything that must happen
	Adapters int           // at a time
}

// A Result is how one scenario ended.
type Result struct {
	Scenario   script.Scenario
	Missing    []string // the features that the client lacks; the scenario was not played
	Err        error
	Transcript string
	Took       time.Duration
}

// Run plays scenarios and passes each result to a function, one at a time. It returns the name of
// the client and its features.
func (s Suite) Run(scenarios []script.Scenario, done func(Result)) (client string, features []string, err error) {
	first, err := adapter.Start(s.Command, startTimeout)
	if err != nil {
		return "", nil, err
	}
	queue := make(chan script.Scenario, len(scenarios))
	for _, scenario := range scenarios {
		queue <- scenario
	}
	close(queue)
	var mu sync.Mutex
	var workers sync.WaitGroup
	report := func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		done(r)
	}
	for i := range max(1, min(s.Adapters, len(scenarios))) {
		start := first
		if i > 0 {
			start = nil
		}
		workers.Go(func() { s.work(start, queue, report) })
	}
	workers.Wait()
	return first.Client, first.Features, nil
}

// work plays the scenarios of the queue, with a new adapter if one does not answer.
func (s Suite) work(a *adapter.Adapter, queue <-chan script.Scenario, done func(Result)) {
	defer func() {
		if a != nil {
			a.Stop()
		}
	}()
	for scenario := range queue {
		if a == nil {
			started, err := adapter.Start(s.Command, startTimeout)
			if err != nil {
				done(Result{Scenario: scenario, Err: err})
				continue
			}
			a = started
		}
		if missing := scenario.Missing(a.Features); len(missing) > 0 {
			done(Result{Scenario: scenario, Missing: missing})
			continue
		}
		began := time.Now()
		transcript, err := Run(scenario, a, s.Wait)
		done(Result{Scenario: scenario, Err: err, Transcript: transcript, Took: time.Since(began)})
		if !a.IsUsable() {
			a.Stop()
			a = nil
		}
	}
}
