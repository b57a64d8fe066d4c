package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// report counts what runs did.
type report struct {
	mu sync.Mutex // protects the fields below

	Faults     map[string]int
	Recoveries map[string][]recovery
	Episodes   map[string]int // by form of Redis
	Calls      int
	Done       int
	Refused    int
	Abandoned  int
	Repeats    int
	Reads      int
	Shown      int
	Resyncs    int
	Failed     int // starts
	Violations int
	Searches   int           // accounts whose operations porcupine has put in an order
	Undecided  int           // accounts for which it found no answer in time
	Wrong      time.Duration // the longest time that a program said ready while it served nothing
}

// newReport returns a report that goes on with the one in the file, if there is one.
func newReport(t *testing.T, file string) *report {
	t.Helper()
	r := &report{Faults: map[string]int{}, Recoveries: map[string][]recovery{}, Episodes: map[string]int{}}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r
	}
	if err == nil {
		err = json.Unmarshal(raw, r)
	}
	if err != nil {
		t.Fatalf("-report: %v", err)
	}
	return r
}

// save writes the report to a file.
func (r *report) save(t *testing.T, file string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Errorf("-report: %v", err)
	}
}

func (r *report) addFaults(kind string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Faults[kind] += n
}

func (r *report) addRecovery(kind string, took recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Recoveries[kind] = append(r.Recoveries[kind], took)
}

// addWrong keeps the longest time that a program said ready while it served nothing.
func (r *report) addWrong(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Wrong = max(r.Wrong, d)
}

// addSearch counts a search of porcupine.
func (r *report) addSearch(isDecided bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Searches++
	if !isDecided {
		r.Undecided++
	}
}

// addEpisode counts an episode that has ended.
func (r *report) addEpisode(e *episode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Episodes[e.w.redis.form]++
	r.Violations += e.w.journal.violationCount()
	for _, c := range e.load.calls {
		r.Calls++
		if c.done {
			r.Done++
		} else {
			r.Refused++
		}
		if c.abandoned {
			r.Abandoned++
		}
	}
	r.Repeats += e.load.repeats
	r.Reads += len(e.load.reads) + len(e.load.gatewayReads)
	for _, p := range e.w.programs() {
		p.mu.Lock()
		r.Failed += p.failed
		p.mu.Unlock()
	}
	for _, v := range append(e.viewers, e.app) {
		v.mu.Lock()
		r.Resyncs += v.resyncs
		for _, s := range v.states {
			r.Shown += len(s.shown)
		}
		v.mu.Unlock()
	}
}

// String returns the report as a table of Markdown.
func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d faults, %d violations. Episodes by form of Redis: %s.\n\n", total, r.Violations, r.listEpisodes())
	fmt.Fprintf(&b, "%d operations: %d done, %d refused; %d of them had attempts without an answer. %d repeated keys, "+
		"%d balances read, %d states shown to clients, %d resyncs, %d starts that failed and were repeated. "+
		"porcupine searched for the order of operations of %d accounts, and for %d of them it found no answer in time. "+
		"The longest time for which a process said ready while it served nothing: %.1f s.\n\n",
		r.Calls, r.Done, r.Refused, r.Abandoned, r.Repeats, r.Reads, r.Shown, r.Resyncs, r.Failed, r.Searches, r.Undecided, r.Wrong.Seconds())
	b.WriteString("| fault | number | measured | writes work, median / max | clients are current, median / max | all are ready, median / max |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|\n")
	kinds := maps.Clone(r.Faults)
	for kind := range r.Recoveries {
		kinds[kind] += 0
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		list := r.Recoveries[kind]
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s | %s |\n", kind, r.Faults[kind], len(list),
			summarize(list, func(v recovery) time.Duration { return v.Writes }),
			summarize(list, func(v recovery) time.Duration { return v.Clients }),
			summarize(list, func(v recovery) time.Duration { return v.Ready }))
	}
	return b.String()
}

func (r *report) listEpisodes() string {
	var list []string
	for _, form := range slices.Sorted(maps.Keys(r.Episodes)) {
		list = append(list, fmt.Sprintf("%s %d", form, r.Episodes[form]))
	}
	return strings.Join(list, ", ")
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
