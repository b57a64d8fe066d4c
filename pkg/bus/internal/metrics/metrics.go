// Package metrics contains the metrics that several packages below bus share.
package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Bus contains the metrics of a bus. Buses and publishers of one process may share a registry: they
// then share the metrics.
type Bus struct {
	Published     *prometheus.CounterVec // by type
	Duplicate     *prometheus.CounterVec // by type
	NoSubscribers *prometheus.CounterVec // by type

	Dead     *prometheus.CounterVec   // by type and subscriber
	success  *prometheus.CounterVec   // by type and subscriber
	failure  *prometheus.CounterVec   // by type and subscriber
	seconds  *prometheus.HistogramVec // by type and subscriber
	attempts *prometheus.HistogramVec // by subscriber
	running  *prometheus.GaugeVec     // by subscriber
	paused   *prometheus.GaugeVec     // by subscriber

	InFlight prometheus.Gauge // of the group

	labels typeTable[string]
}

// TypeLabel returns the label of an event type: its name, or OtherTypes beyond maxTypes types.
func (m *Bus) TypeLabel(eventType string) string {
	return *m.labels.getOrMake(eventType, func(label string) *string { return &label })
}

// NewBus returns the metrics of a bus that reads events for the group.
func NewBus(reg prometheus.Registerer, group string) *Bus {
	handlerLabels := []string{"type", "subscriber"}
	return &Bus{
		Published:     PublishedTotal(reg),
		Duplicate:     DuplicateTotal(reg),
		NoSubscribers: Counter(reg, "realtime_bus_events_unwanted_total", "Events that no subscription wanted.", "type"),
		success:       Counter(reg, "realtime_bus_handler_successes_total", "Handler calls that succeeded.", handlerLabels...),
		failure:       Counter(reg, "realtime_bus_handler_errors_total", "Handler calls that failed or panicked.", handlerLabels...),
		Dead:          Counter(reg, "realtime_bus_events_dead_total", "Events that became dead letters.", handlerLabels...),
		seconds: Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "realtime_bus_handler_seconds",
			Help:    "Duration of handler calls.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50},
		}, handlerLabels)),
		attempts: Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "realtime_bus_handler_attempts",
			Help:    "Handler calls for one event until it succeeded or became a dead letter.",
			Buckets: []float64{1, 2, 3, 5, 10, 20},
		}, []string{"subscriber"})),
		running:  Gauge(reg, "realtime_bus_handler_running", "Handlers that are running now.", "subscriber"),
		paused:   Gauge(reg, "realtime_bus_subscriber_paused", "1 if the subscription is paused because its handler keeps failing.", "subscriber"),
		InFlight: Gauge(reg, "realtime_bus_events_in_flight", "Events that were read and are not handled yet.", "group").WithLabelValues(group),
	}
}

// PublishedTotal returns the counter of published events, by type.
func PublishedTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return Counter(reg, "realtime_bus_events_published_total", "Events written to the streams. An event with two parties counts once.", "type")
}

// DuplicateTotal returns the counter of events that had been published before, by type.
func DuplicateTotal(reg prometheus.Registerer) *prometheus.CounterVec {
	return Counter(reg, "realtime_bus_duplicates_total", "Events that were not written because they had been published before.", "type")
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
	var registered prometheus.AlreadyRegisteredError
	if errors.As(err, &registered) {
		existing, ok := registered.ExistingCollector.(C)
		if ok {
			return existing
		}
	}

	if err != nil {
		panic(err) // as promauto does: two different metrics of one name are a bug in the program
	}

	return c
}

// Subscriber contains the metrics of a subscription.
type Subscriber struct {
	m        *Bus
	id       string
	Attempts prometheus.Observer
	Running  prometheus.Gauge
	Paused   prometheus.Gauge
	types    *typeTable[Handled]
}

// Handled contains the metrics of a subscription for one event type.
type Handled struct {
	Success prometheus.Counter
	Failure prometheus.Counter
	Dead    prometheus.Counter
	Seconds prometheus.Observer
}

// ForSubscriber returns the metrics of a subscription.
func (m *Bus) ForSubscriber(id string) Subscriber {
	return Subscriber{
		m:        m,
		id:       id,
		Attempts: m.attempts.WithLabelValues(id),
		Running:  m.running.WithLabelValues(id),
		Paused:   m.paused.WithLabelValues(id),
		types:    &typeTable[Handled]{},
	}
}

// ForType returns the metrics of the subscription for one event type.
func (s *Subscriber) ForType(eventType string) *Handled {
	return s.types.getOrMake(eventType, func(label string) *Handled {
		return &Handled{
			Success: s.m.success.WithLabelValues(label, s.id),
			Failure: s.m.failure.WithLabelValues(label, s.id),
			Dead:    s.m.Dead.WithLabelValues(label, s.id),
			Seconds: s.m.seconds.WithLabelValues(label, s.id),
		}
	})
}

// CountTypes adds an update's events to the counts by type. It ignores the deliveries of second
// parties.
func CountTypes(counts map[string]int, u *bus.AccountUpdate) {
	for i := range u.Deliveries {
		d := &u.Deliveries[i]
		if !d.SecondParty {
			counts[d.Type]++
		}
	}
}

// AddTypes adds counts by type to a counter.
func AddTypes(vec *prometheus.CounterVec, counts map[string]int) {
	for eventType, n := range counts {
		vec.WithLabelValues(eventType).Add(float64(n))
	}
}
