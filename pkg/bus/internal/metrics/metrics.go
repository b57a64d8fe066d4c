// Package metrics has what the metrics of the packages below pkg/bus have in common. Their collectors may
// share a registry: whoever comes later counts on with what is there.
package metrics

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// NewPublished returns the counter of published events.
func NewPublished(reg prometheus.Registerer) *prometheus.CounterVec {
	return NewCounter(reg, "event_published_total", "Events written to the streams; an event with two parties counts once.", "type")
}

// NewDuplicates returns the counter of events that were published before.
func NewDuplicates(reg prometheus.Registerer) *prometheus.CounterVec {
	return NewCounter(reg, "event_duplicate_detected_total", "Events that were to be published again and were not.", "type")
}

// NewCounter returns a counter that others may share.
func NewCounter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// NewGauge returns a gauge that others may share.
func NewGauge(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return Shared(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

// Shared registers a collector, or returns the one that is registered under its name.
func Shared[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if have := (prometheus.AlreadyRegisteredError{}); errors.As(err, &have) {
		if c, ok := have.ExistingCollector.(C); ok {
			return c
		}
	}
	if err != nil {
		panic(err) // as promauto does: two metrics of one name are a mistake in the program
	}
	return c
}

// maxTypes bounds the types that have metrics of their own: producers choose them.
const maxTypes = 256

// OtherTypes is the label of the types beyond.
const OtherTypes = "other"

// AddByType adds counts by type to a counter with the label type.
func AddByType(vec *prometheus.CounterVec, counts map[string]int) {
	for kind, n := range counts {
		vec.WithLabelValues(kind).Add(float64(n))
	}
}

// TypeLabels are the labels of event types.
type TypeLabels struct{ table TypeTable[string] }

// Of returns the type itself, for as many types as there may be, and "other" for the rest.
func (l *TypeLabels) Of(eventType string) string {
	return *l.table.Get(eventType, func(label string) *string { return &label })
}

// TypeTable holds something for each event type, up to maxTypes and one for the rest.
type TypeTable[V any] struct {
	byType sync.Map // string -> *V
	n      atomic.Int32
}

func (t *TypeTable[V]) Get(eventType string, make func(label string) *V) *V {
	if v, ok := t.byType.Load(eventType); ok {
		return v.(*V)
	}
	if t.n.Load() >= maxTypes {
		if eventType == OtherTypes {
			return make(OtherTypes)
		}
		return t.Get(OtherTypes, make)
	}
	v, there := t.byType.LoadOrStore(eventType, make(eventType))
	if !there {
		t.n.Add(1)
	}
	return v.(*V)
}
