// Package metrics holds the metrics that several packages below bus share.
package metrics

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Bus are a bus' metrics. Buses and publishers of one process may share a
// registry: whoever comes later counts on with what is there.
type Bus struct {
	Published, Duplicate, NoSubscribers *prometheus.CounterVec // type

	success, failure, Dead *prometheus.CounterVec   // type, subscriber
	seconds                *prometheus.HistogramVec // type, subscriber
	attempts               *prometheus.HistogramVec // subscriber
	running, paused        *prometheus.GaugeVec     // subscriber

	InFlight prometheus.Gauge // of the group

	labels typeTable[string]
}

// TypeLabel is a type's own name, for as many as there may be.
func (m *Bus) TypeLabel(eventType string) string {
	return *m.labels.get(eventType, func(label string) *string { return &label })
}

// NewBus returns the metrics of a bus whose events are read for the group.
func NewBus(reg prometheus.Registerer, group string) *Bus {
	handled := []string{"type", "subscriber"}
	return &Bus{
		Published:     PublishedTotal(reg),
		Duplicate:     DuplicateTotal(reg),
		NoSubscribers: Counter(reg, "event_no_subscribers_total", "Events that no subscription wanted.", "type"),
		success:       Counter(reg, "event_handler_success_total", "Handler calls that worked.", handled...),
		failure:       Counter(reg, "event_handler_error_total", "Handler calls that failed or panicked.", handled...),
		Dead:          Counter(reg, "event_dead_letters_total", "Events that became dead letters.", handled...),
		seconds: Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_seconds", Help: "Duration of handler calls.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50},
		}, handled)),
		attempts: Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_attempts", Help: "Calls that an event took until it worked or became a dead letter.",
			Buckets: []float64{1, 2, 3, 5, 10, 20},
		}, []string{"subscriber"})),
		running:  Gauge(reg, "event_handler_running", "Handlers that run now.", "subscriber"),
		paused:   Gauge(reg, "event_subscriber_paused", "1: the subscription is paused, since its handler fails all the time.", "subscriber"),
		InFlight: Gauge(reg, "event_in_flight", "Events that were read and are not handled to the end.", "group").WithLabelValues(group),
	}
}

// PublishedTotal returns the counter of published events, by type.
func PublishedTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return Counter(reg, "event_published_total", "Events written to the streams; an event with two parties counts once.", "type")
}

// DuplicateTotal returns the counter of events that were published before, by type.
func DuplicateTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return Counter(reg, "event_duplicate_detected_total", "Events that were to be published again and were not.", "type")
}

// Counter registers a counter, or returns the one that is registered under its name.
func Counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// Gauge registers a gauge, or returns the one that is registered under its name.
func Gauge(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
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

// otherTypes is the label of the types beyond.
const OtherTypes = "other"

// Subscriber are a subscription's.
type Subscriber struct {
	m        *Bus
	id       string
	Attempts prometheus.Observer
	Running  prometheus.Gauge
	Paused   prometheus.Gauge
	types    *typeTable[Handled]
}

// Handled are the metrics of one type and subscription, looked up once.
type Handled struct {
	Success, Failure, Dead prometheus.Counter
	Seconds                prometheus.Observer
}

// ForSubscriber returns the metrics of a subscription.
func (m *Bus) ForSubscriber(id string) Subscriber {
	return Subscriber{
		m: m, id: id, Attempts: m.attempts.WithLabelValues(id),
		Running: m.running.WithLabelValues(id), Paused: m.paused.WithLabelValues(id),
		types: &typeTable[Handled]{},
	}
}

// ForType returns the metrics of the subscription for one event type.
func (s *Subscriber) ForType(t string) *Handled {
	return s.types.get(t, func(label string) *Handled {
		return &Handled{
			Success: s.m.success.WithLabelValues(label, s.id),
			Failure: s.m.failure.WithLabelValues(label, s.id),
			Dead:    s.m.Dead.WithLabelValues(label, s.id),
			Seconds: s.m.seconds.WithLabelValues(label, s.id),
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
		if eventType == OtherTypes {
			return make(OtherTypes)
		}
		return t.get(OtherTypes, make)
	}
	v, there := t.byType.LoadOrStore(eventType, make(eventType))
	if !there {
		t.n.Add(1)
	}
	return v.(*V)
}

// CountTypes adds an update's events to the counts by type. A second party's delivery does not count.
func CountTypes(counts map[string]int, g *bus.AccountUpdate) {
	for i := range g.Deliveries {
		if d := &g.Deliveries[i]; !d.SecondParty {
			counts[d.Type]++
		}
	}
}

// AddTypes adds counts by type to a counter.
func AddTypes(vec *prometheus.CounterVec, counts map[string]int) {
	for kind, n := range counts {
		vec.WithLabelValues(kind).Add(float64(n))
	}
}
