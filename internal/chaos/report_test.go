package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// report counts what a run did.
type report struct {
	mu         sync.Mutex // protects the fields below
	faults     map[string]int
	recoveries map[string][]recovery
	episodes   int
	calls      int
	done       int
	refused    int
	abandoned  int
	repeats    int
	reads      int
	shown      int
	resyncs    int
}

func newReport() *report {
	return &report{faults: map[string]int{}, recoveries: map[string][]recovery{}}
}

func (r *report) addFaults(kind string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[kind] += n
}

func (r *report) addRecovery(kind string, took recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recoveries[kind] = append(r.recoveries[kind], took)
}

// addEpisode counts an episode that has ended.
func (r *report) addEpisode(e *episode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.episodes++
	for _, c := range e.load.calls {
		r.calls++
		if c.done {
			r.done++
		} else {
			r.refused++
		}
		if c.abandoned {
			r.abandoned++
		}
	}
	r.repeats += e.load.repeats
	r.reads += len(e.load.reads) + len(e.load.gatewayReads)
	for _, v := range e.viewers {
		v.mu.Lock()
		r.resyncs += v.resyncs
		for _, s := range v.states {
			r.shown += len(s.shown)
		}
		v.mu.Unlock()
	}
}

// String returns the report as a table of Markdown.
func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := 0
	for _, n := range r.faults {
		total += n
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d faults in %d episodes. %d operations: %d done, %d refused, %d after attempts without an answer; "+
		"%d repeated keys, %d balances read, %d states shown to clients, %d resyncs.\n\n",
		total, r.episodes, r.calls, r.done, r.refused, r.abandoned, r.repeats, r.reads, r.shown, r.resyncs)
	b.WriteString("| fault | number | measured | writes work, median / max | clients are current, median / max | all are ready, median / max |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|\n")
	kinds := maps.Clone(r.faults)
	for kind := range r.recoveries {
		kinds[kind] += 0
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		list := r.recoveries[kind]
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s | %s |\n", kind, r.faults[kind], len(list),
			summarize(list, func(v recovery) time.Duration { return v.writes }),
			summarize(list, func(v recovery) time.Duration { return v.clients }),
			summarize(list, func(v recovery) time.Duration { return v.ready }))
	}
	return b.String()
}

// summarize returns the median and the maximum in seconds.
func summarize(list []recovery, of func(recovery) time.Duration) string {
	if len(list) == 0 {
		return "–"
	}
	var values []time.Duration
	for _, v := range list {
		values = append(values, of(v))
	}
	slices.Sort(values)
	return fmt.Sprintf("%.2f / %.2f s", values[len(values)/2].Seconds(), values[len(values)-1].Seconds())
}
