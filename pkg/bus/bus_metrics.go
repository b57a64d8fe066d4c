package bus

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// busMetrics are a bus' metrics. Buses and publishers of one process may share a
// registry: whoever comes later counts on with what is there.
type busMetrics struct {
	published, duplicate, noSubscribers *prometheus.CounterVec // type

	success, failure, dead *prometheus.CounterVec   // type, subscriber
	seconds                *prometheus.HistogramVec // type, subscriber
	attempts               *prometheus.HistogramVec // subscriber
	running, paused        *prometheus.GaugeVec     // subscriber

	inFlight prometheus.Gauge // this and the rest: of the group
	group    groupMetrics

	labels typeTable[string]
}

// label is a type's own name, for as many as there may be.
func (m *busMetrics) label(eventType string) string {
	return *m.labels.get(eventType, func(label string) *string { return &label })
}

func newBusMetrics(reg prometheus.Registerer, group string) *busMetrics {
	handled := []string{"type", "subscriber"}
	m := &busMetrics{
		published:     newPublishedTotal(reg),
		duplicate:     newDuplicateTotal(reg),
		noSubscribers: counter(reg, "event_no_subscribers_total", "Events that no subscription wanted.", "type"),
		success:       counter(reg, "event_handler_success_total", "Handler calls that worked.", handled...),
		failure:       counter(reg, "event_handler_error_total", "Handler calls that failed or panicked.", handled...),
		dead:          counter(reg, "event_dead_letters_total", "Events that became dead letters.", handled...),
		seconds: shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_seconds", Help: "Duration of handler calls.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50},
		}, handled)),
		attempts: shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_attempts", Help: "Calls that an event took until it worked or became a dead letter.",
			Buckets: []float64{1, 2, 3, 5, 10, 20},
		}, []string{"subscriber"})),
		running:  gauge(reg, "event_handler_running", "Handlers that run now.", "subscriber"),
		paused:   gauge(reg, "event_subscriber_paused", "1: the subscription is paused, since its handler fails all the time.", "subscriber"),
		inFlight: gauge(reg, "event_in_flight", "Events that were read and are not handled to the end.", "group").WithLabelValues(group),
	}
	m.group = newGroupMetrics(reg, group)
	return m
}

func newPublishedTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return counter(reg, "event_published_total", "Events written to the streams; an event with two parties counts once.", "type")
}

func newDuplicateTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return counter(reg, "event_duplicate_detected_total", "Events that were to be published again and were not.", "type")
}

func counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func gauge(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return shared(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

// shared registers a collector, or returns the one that is registered under its name.
func shared[C prometheus.Collector](reg prometheus.Registerer, c C) C {
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

// otherTypes is the label of the types beyond.
const otherTypes = "other"

// subscriberMetrics are a subscription's.
type subscriberMetrics struct {
	m        *busMetrics
	id       string
	attempts prometheus.Observer
	running  prometheus.Gauge
	paused   prometheus.Gauge
	types    *typeTable[handledMetrics]
}

// handledMetrics are those of one type and subscription, looked up once.
type handledMetrics struct {
	success, failure, dead prometheus.Counter
	seconds                prometheus.Observer
}

func (m *busMetrics) of(id string) subscriberMetrics {
	return subscriberMetrics{
		m: m, id: id, attempts: m.attempts.WithLabelValues(id),
		running: m.running.WithLabelValues(id), paused: m.paused.WithLabelValues(id),
		types: &typeTable[handledMetrics]{},
	}
}

func (s *subscriberMetrics) forType(t string) *handledMetrics {
	return s.types.get(t, func(label string) *handledMetrics {
		return &handledMetrics{
			success: s.m.success.WithLabelValues(label, s.id),
			failure: s.m.failure.WithLabelValues(label, s.id),
			dead:    s.m.dead.WithLabelValues(label, s.id),
			seconds: s.m.seconds.WithLabelValues(label, s.id),
		}
	})
}

// typeTable holds something for each event type, up to maxTypes and one for the rest.
type typeTable[V any] struct {
	byType sync.Map // string -> *V
	n      atomic.Int32
}

func (t *typeTable[V]) get(eventType string, make func(label string) *V) *V {
	if v, ok := t.byType.Load(eventType); ok {
		return v.(*V)
	}
	if t.n.Load() >= maxTypes {
		if eventType == otherTypes {
			return make(otherTypes)
		}
		return t.get(otherTypes, make)
	}
	v, there := t.byType.LoadOrStore(eventType, make(eventType))
	if !there {
		t.n.Add(1)
	}
	return v.(*V)
}
