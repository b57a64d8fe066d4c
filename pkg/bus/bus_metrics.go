package bus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
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

	labels metrics.TypeLabels
}

func newBusMetrics(reg prometheus.Registerer, group string) *busMetrics {
	handled := []string{"type", "subscriber"}
	m := &busMetrics{
		published:     metrics.NewPublished(reg),
		duplicate:     metrics.NewDuplicates(reg),
		noSubscribers: metrics.NewCounter(reg, "event_no_subscribers_total", "Events that no subscription wanted.", "type"),
		success:       metrics.NewCounter(reg, "event_handler_success_total", "Handler calls that worked.", handled...),
		failure:       metrics.NewCounter(reg, "event_handler_error_total", "Handler calls that failed or panicked.", handled...),
		dead:          metrics.NewCounter(reg, "event_dead_letters_total", "Events that became dead letters.", handled...),
		seconds: metrics.Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_seconds", Help: "Duration of handler calls.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50},
		}, handled)),
		attempts: metrics.Shared(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_handler_attempts", Help: "Calls that an event took until it worked or became a dead letter.",
			Buckets: []float64{1, 2, 3, 5, 10, 20},
		}, []string{"subscriber"})),
		running:  metrics.NewGauge(reg, "event_handler_running", "Handlers that run now.", "subscriber"),
		paused:   metrics.NewGauge(reg, "event_subscriber_paused", "1: the subscription is paused, since its handler fails all the time.", "subscriber"),
		inFlight: metrics.NewGauge(reg, "event_in_flight", "Events that were read and are not handled to the end.", "group").WithLabelValues(group),
	}
	m.group = newGroupMetrics(reg, group)
	return m
}

// subscriberMetrics are a subscription's.
type subscriberMetrics struct {
	m        *busMetrics
	id       string
	attempts prometheus.Observer
	running  prometheus.Gauge
	paused   prometheus.Gauge
	types    *metrics.TypeTable[handledMetrics]
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
		types: &metrics.TypeTable[handledMetrics]{},
	}
}

func (s *subscriberMetrics) forType(t string) *handledMetrics {
	return s.types.Get(t, func(label string) *handledMetrics {
		return &handledMetrics{
			success: s.m.success.WithLabelValues(label, s.id),
			failure: s.m.failure.WithLabelValues(label, s.id),
			dead:    s.m.dead.WithLabelValues(label, s.id),
			seconds: s.m.seconds.WithLabelValues(label, s.id),
		}
	})
}
