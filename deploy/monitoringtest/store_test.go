package monitoringtest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// A store holds series in memory for the query engine of Prometheus. It implements
// storage.Queryable.
type store struct {
	t      *testing.T
	engine *promql.Engine
	series []*series
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

func newStore(t *testing.T) *store {
	t.Helper()
	return &store{
		t: t,
		engine: promql.NewEngine(promql.EngineOpts{
			MaxSamples:    50_000_000,
			Timeout:       2 * time.Minute,
			LookbackDelta: 5 * time.Minute,
			Parser:        parser.NewParser(parser.Options{}),
		}),
	}
}

// load adds a series with a sample each minute from 1970 on, in the notation of promtool:
// up{job="core"} 1x60, or a_total 0+5x60.
func (s *store) load(description string) {
	s.t.Helper()
	lset, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(description)
	if err != nil {
		s.t.Fatalf("%s: %v", description, err)
	}
	for i, v := range values {
		if !v.Omitted {
			s.add(lset, time.Unix(0, 0).Add(time.Duration(i)*time.Minute), v.Value)
		}
	}
}

// add appends a sample to a series.
func (s *store) add(lset labels.Labels, at time.Time, value float64) {
	i := slices.IndexFunc(s.series, func(other *series) bool { return labels.Equal(other.labels, lset) })
	if i < 0 {
		i = len(s.series)
		s.series = append(s.series, &series{labels: lset})
	}
	s.series[i].samples = append(s.series[i].samples, sample{at.UnixMilli(), value})
}

// query evaluates an expression at a time.
func (s *store) query(expression string, at time.Time) promql.Vector {
	s.t.Helper()
	q, err := s.engine.NewInstantQuery(s.t.Context(), s, nil, expression, at)
	if err != nil {
		s.t.Fatalf("%s: %v", expression, err)
	}
	defer q.Close()
	vector, err := q.Exec(s.t.Context()).Vector()
	if err != nil {
		s.t.Fatalf("%s: %v", expression, err)
	}
	return slices.Clone(vector)
}

// Querier implements storage.Queryable.
func (s *store) Querier(int64, int64) (storage.Querier, error) { return querier{s}, nil }

type querier struct{ *store }

// Select implements storage.Querier.
func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{}
	for _, s := range q.series {
		matches := func(m *labels.Matcher) bool { return m.Matches(s.labels.Get(m.Name)) }
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !matches(m) }) {
			found.series = append(found.series, storage.NewListSeries(s.labels, s.samples))
		}
	}
	return found
}

// LabelValues implements storage.LabelQuerier.
func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames implements storage.LabelQuerier.
func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.LabelQuerier.
func (querier) Close() error { return nil }

// seriesSet implements storage.SeriesSet. Next was called n times.
type seriesSet struct {
	series []storage.Series
	n      int
}

func (s *seriesSet) Next() bool                        { s.n++; return s.n <= len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.n-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// A sample implements chunks.Sample.
type sample struct {
	at    int64
	value float64
}

func (s sample) ST() int64                     { return 0 }
func (s sample) T() int64                      { return s.at }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
