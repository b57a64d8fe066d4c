package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redroomrewards/realtime/bench/histogram"
	"github.com/redroomrewards/realtime/bench/report"
)

// latency sums up durations, in milliseconds.
type latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func latencyOf(h *histogram.Histogram) latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return latency{ms(h.Quantile(0.5)), ms(h.Quantile(0.99)), ms(h.Max())}
}

// faults are what must not be.
type faults struct {
	Lost       int64 `json:"lost"`
	Twice      int64 `json:"twice"`
	OutOfOrder int64 `json:"outOfOrder"`
	Stray      int64 `json:"stray"` // events of no operation
	Ended      int   `json:"ended"` // clients whose connection ended early
	First      error `json:"-"`     // of those that ended
}

func (f *faults) String() string {
	return fmt.Sprintf("%d lost, %d twice, %d out of order, %d stray, %d connections ended", f.Lost, f.Twice, f.OutOfOrder, f.Stray, f.Ended)
}

func (f *faults) any() bool {
	return f.Lost+f.Twice+f.OutOfOrder+f.Stray > 0 || f.Ended > 0
}

// result is one round.
type result struct {
	Round         int     `json:"round"`
	Operations    int     `json:"operations"` // that count
	Events        uint64  `json:"events"`     // that arrived, of these operations, at all clients together
	RequestAnswer latency `json:"requestToAnswerMillis"`
	AnswerToFrame latency `json:"answerToFrameMillis"` // an event that came before the answer counts as 0
	CommitToFrame latency `json:"commitToFrameMillis"` // from the event's timestamp, whose last digit is a millisecond
	Before        float64 `json:"beforeAnswerPercent"` // events that came before the answer
	LatestStart   float64 `json:"latestStartMillis"`   // how far the driver fell behind its schedule
	CoreCPU       float64 `json:"coreCPUMicros"`       // per operation
	GatewayCPU    float64 `json:"gatewayCPUMicros"`    // per delivered event, all gateways
	OthersPercent float64 `json:"othersPercent"`       // what other processes took of the processors
	Faults        faults  `json:"faults"`
}

// newResult compares what was answered with what arrived. Operations that were
// due before `from` count for faults only.
func newResult(accounts []*account, watchers []*watcher, from time.Time, before, after *cpu) *result {
	var request, answer, commit histogram.Histogram
	r := new(result)
	var latest time.Duration
	all := 0
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
	early, delivered := 0, 0
	for _, w := range watchers {
		a := accounts[w.account]
		r.Faults.add(w, a.seq())
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
			d := s.at.Sub(o.answered)
			if d < 0 {
				early++
			}
			answer.Add(max(d, 0))
			commit.Add(s.at.Sub(s.committed))
		}
	}
	r.Events = answer.Count()
	r.RequestAnswer, r.AnswerToFrame, r.CommitToFrame = latencyOf(&request), latencyOf(&answer), latencyOf(&commit)
	r.Before = 100 * float64(early) / float64(max(1, r.Events))
	r.LatestStart = float64(latest.Microseconds()) / 1000
	core, servers := after.core.Since(&before.core).Servers, after.all.Since(&before.all).Servers
	r.CoreCPU = float64(core.Microseconds()) / float64(max(1, all))
	r.GatewayCPU = float64((servers - core).Microseconds()) / float64(max(1, delivered))
	r.OthersPercent = after.all.OthersPercent(&before.all)
	return r
}

// operationOf finds the operation that gave the account's event this seq.
func (a *account) operationOf(seq int64) *operation {
	i, _ := slices.BinarySearchFunc(a.done, seq, func(o operation, seq int64) int { return int(o.seq - seq) })
	if seq <= a.start || i == len(a.done) {
		return nil
	}
	return &a.done[i]
}

// add compares what a client saw with what its account had, which is every seq
// after the client's snapshot up to last, once and in order.
func (f *faults) add(w *watcher, last int64) {
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
		got[s.seq], ids[s.id] = true, true
	}
	for seq := w.start + 1; seq <= last; seq++ {
		if !got[seq] {
			f.Lost++
		}
	}
	if w.ended() {
		f.Ended++
		if f.First == nil {
			f.First = w.err
		}
	}
}

// outcome is all rounds.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Rate        int                `json:"rate"`
	Accounts    int                `json:"accounts"`
	Clients     int                `json:"clients"`
	Gateways    int                `json:"gateways"`
	Seconds     float64            `json:"seconds"`
	Repeated    int                `json:"repeated"` // rounds thrown away because others disturbed them
	Results     []result           `json:"results"`
}

// faults tells whether any client did not see exactly what there was.
func (o *outcome) faults() error {
	for i := range o.Results {
		if f := &o.Results[i].Faults; f.any() {
			return errors.Join(fmt.Errorf("round %d: %s", o.Results[i].Round, f), f.First)
		}
	}
	return nil
}

// Name implements report.Document.
func (*outcome) Name() string { return "path" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%d operations per second on %d accounts, %d clients on %d gateways, %g s a round, %d rounds%s.\n\n",
		&o.Environment, o.Rate, o.Accounts, o.Clients, o.Gateways, o.Seconds, len(o.Results), report.Repeated(o.Repeated))
	if err != nil {
		return err
	}
	times := report.NewTable("milliseconds, median of the rounds (min to max)", "p50", "p99", "max")
	for _, row := range []struct {
		name string
		of   func(*result) *latency
	}{
		{"HTTP answer to frame at the client", func(r *result) *latency { return &r.AnswerToFrame }},
		{"event's timestamp (commit) to frame at the client", func(r *result) *latency { return &r.CommitToFrame }},
		{"HTTP request to answer", func(r *result) *latency { return &r.RequestAnswer }},
	} {
		cell := func(figure func(*latency) float64) string {
			return report.SpreadBy(o.Results, func(r *result) float64 { return figure(row.of(r)) }).String()
		}
		times.Row(row.name, cell(func(l *latency) float64 { return l.P50 }), cell(func(l *latency) float64 { return l.P99 }),
			cell(func(l *latency) float64 { return l.Max }))
	}
	counts := report.NewTable("round", "operations", "events arrived", "before the answer", "lost", "twice", "out of order", "driver late by ms", "core CPU µs/operation", "gateway CPU µs/event", "others' CPU")
	for i := range o.Results {
		r := &o.Results[i]
		counts.Row(fmt.Sprint(r.Round), report.Number(float64(r.Operations)), report.Number(float64(r.Events)), fmt.Sprintf("%.0f %%", r.Before),
			fmt.Sprint(r.Faults.Lost), fmt.Sprint(r.Faults.Twice), fmt.Sprint(r.Faults.OutOfOrder), report.Number(r.LatestStart),
			report.Optional(r.CoreCPU), report.Optional(r.GatewayCPU), fmt.Sprintf("%.0f %%", r.OthersPercent))
	}
	for _, t := range []*report.Table{times, counts} {
		if err := t.Write(w); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}
