package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/redroomrewards/realtime/bench/histogram"
)

// latency describes the distribution of durations, in milliseconds.
type latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func latencyOf(h *histogram.Histogram) latency {
	return latency{
		P50: toMillis(h.Quantile(0.5)),
		P99: toMillis(h.Quantile(0.99)),
		Max: toMillis(h.Max()),
	}
}

func toMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// faults count violations of the delivery guarantee.
type faults struct {
	Lost       int64 `json:"lost"`
	Twice      int64 `json:"twice"`
	OutOfOrder int64 `json:"outOfOrder"`
	Stray      int64 `json:"stray"` // events that belong to no operation
	Ended      int   `json:"ended"` // clients whose connection ended early
	First      error `json:"-"`     // the error of the first of those connections
}

func (f *faults) String() string {
	return fmt.Sprintf("%d lost, %d twice, %d out of order, %d stray, %d connections ended",
		f.Lost, f.Twice, f.OutOfOrder, f.Stray, f.Ended)
}

func (f *faults) hasAny() bool {
	return f.Lost+f.Twice+f.OutOfOrder+f.Stray > 0 || f.Ended > 0
}

// result holds the figures of one measurement.
type result struct {
	Round          int      `json:"round"`
	Rate           int      `json:"rate"` // operations per second
	Build          string   `json:"build"`
	Operations     int      `json:"operations"` // after the warm-up
	Events         uint64   `json:"events"`     // of these operations, at all clients together
	RequestToFrame latency  `json:"requestToFrameMillis"`
	AnswerToFrame  latency  `json:"answerToFrameMillis"` // 0 for an event that arrived before the answer
	CommitToFrame  latency  `json:"commitToFrameMillis"` // from the event's timestamp, which has whole milliseconds
	RequestAnswer  latency  `json:"requestToAnswerMillis"`
	Before         float64  `json:"beforeAnswerPercent"` // events that arrived before the answer
	LatestStart    float64  `json:"latestStartMillis"`   // largest delay of the driver behind its schedule
	CoreCPU        float64  `json:"coreCPUMicros"`       // per operation
	GatewayCPU     float64  `json:"gatewayCPUMicros"`    // per delivered event, all gateways
	RedisCPU       float64  `json:"redisCPUMicros"`      // per operation
	OthersPercent  float64  `json:"othersPercent"`       // other processes, of all processors
	Idle           *idleCPU `json:"idle,omitempty"`      // nil: not measured
	Faults         faults   `json:"faults"`
}

// newResult compares the answers with the events that arrived. Operations that were due before
// `from` count only for faults and for CPU time.
func newResult(accounts []*account, watchers []*watcher, from time.Time, used consumption) *result {
	r := new(result)
	all := r.addAnswers(accounts, from)
	delivered := r.addEvents(accounts, watchers, from)
	r.CoreCPU = microsEach(used.core, all)
	r.GatewayCPU = microsEach(used.gateways, delivered)
	r.RedisCPU = microsEach(used.redis, all)
	r.OthersPercent = used.others
	return r
}

func microsEach(d time.Duration, n int) float64 {
	return float64(d.Microseconds()) / float64(max(1, n))
}

// addAnswers fills in the figures of the HTTP answers. It returns the number of all operations.
func (r *result) addAnswers(accounts []*account, from time.Time) (all int) {
	var request histogram.Histogram
	var latest time.Duration
	for _, a := range accounts {
		all += len(a.done)
		for _, o := range a.done {
			if o.due.Before(from) {
				continue
			}

			r.Operations++
			request.Add(o.answered.Sub(o.sent))
			latest = max(latest, o.sent.Sub(o.due))
		}
	}

	r.RequestAnswer = latencyOf(&request)
	r.LatestStart = toMillis(latest)
	return all
}

// addEvents fills in the figures of the frames and the faults. It returns the number of all events
// that arrived.
func (r *result) addEvents(accounts []*account, watchers []*watcher, from time.Time) (delivered int) {
	var request, answer, commit histogram.Histogram
	early := 0
	for _, w := range watchers {
		a := accounts[w.account]
		r.Faults.addEvents(w, a.lastSeq())
		delivered += len(w.seen)
		for i := range w.seen {
			s := &w.seen[i]
			o := a.operationOf(s.seq)
			if o == nil {
				r.Faults.Stray++
				continue
			}
			if o.due.Before(from) {
				continue
			}

			sinceAnswer := s.at.Sub(o.answered)
			if sinceAnswer < 0 {
				early++
			}

			request.Add(s.at.Sub(o.sent))
			answer.Add(max(sinceAnswer, 0))
			commit.Add(s.at.Sub(s.committed))
		}
	}

	r.Events = answer.Count()
	r.RequestToFrame = latencyOf(&request)
	r.AnswerToFrame = latencyOf(&answer)
	r.CommitToFrame = latencyOf(&commit)
	r.Before = 100 * float64(early) / float64(max(1, r.Events))
	return delivered
}

// operationOf finds the operation that gave the account's event this seq. It returns nil if there
// is none.
func (a *account) operationOf(seq int64) *operation {
	i, _ := slices.BinarySearchFunc(a.done, seq,
		func(o operation, seq int64) int { return int(o.seq - seq) })
	if seq <= a.start || i == len(a.done) {
		return nil
	}
	return &a.done[i]
}

// addEvents compares the events that a client saw with those of its account. The client must see
// every seq after its snapshot up to last, once and in order.
func (f *faults) addEvents(w *watcher, last int64) {
	next := w.start + 1
	got := make(map[int64]bool, len(w.seen))
	ids := make(map[string]bool, len(w.seen))
	for i := range w.seen {
		s := &w.seen[i]
		if s.seq != next {
			f.OutOfOrder++
		}

		next = s.seq + 1
		if got[s.seq] || ids[s.id] {
			f.Twice++
		}

		got[s.seq] = true
		ids[s.id] = true
	}

	for seq := w.start + 1; seq <= last; seq++ {
		if !got[seq] {
			f.Lost++
		}
	}

	if w.endedEarly() {
		f.Ended++
		if f.First == nil {
			f.First = w.err
		}
	}
}
