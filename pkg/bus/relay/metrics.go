package relay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

type relayMetrics struct {
	published   *prometheus.CounterVec // by type
	errors      *prometheus.CounterVec // by reason
	deferred    prometheus.Counter
	gaps        prometheus.Counter
	republished prometheus.Counter
	ahead       prometheus.Counter
	sweeps      prometheus.Counter
	backlog     prometheus.Gauge
	oldest      prometheus.Gauge
	delay       prometheus.Histogram
}

func newRelayMetrics(reg prometheus.Registerer) relayMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return relayMetrics{
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_event_published_total",
			Help: "The ledger's events that this process wrote to the streams; an event with two parties counts once.",
		}, []string{"type"}),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_event_publish_error_total",
			Help: "What went wrong on the way to the streams, by reason: redis (a call failed), outbox (the ledger did not answer), " +
				"partly_published and unwritable (Redis holds what no publisher wrote; see the log). Everything is tried again.",
		}, []string{"reason"}),
		deferred: counter("relay_deferred_total", "Transactions left to the sweep, because the queue was full, or Redis or the partition away."),
		gaps:     counter("relay_gaps_total", "Groups that Redis refused at first, because it lacked what comes before them."),
		republished: counter("relay_republished_total",
			"Groups derived from the ledger and published: Redis had lost them, or a comparison met them on their way."),
		ahead: counter("relay_ahead_total",
			"Accounts with a higher seq in Redis than in the ledger: the ledger was restored from a backup, or a failover of its database lost commits."),
		sweeps:  counter("relay_sweeps_total", "Passes through the outbox."),
		backlog: gauge("relay_outbox_backlog", "Committed transactions in the outbox."),
		oldest:  gauge("relay_outbox_oldest_age_seconds", "Age of the oldest row in the outbox; 0 when it is empty."),
		delay: f.NewHistogram(prometheus.HistogramOpts{
			Name: "relay_publish_delay_seconds",
			Help: "Time from a transaction's making to its events' being in the streams.",
			// Milliseconds, unless Redis was away: then minutes to hours.
			Buckets: append(prometheus.ExponentialBuckets(0.0005, 2, 16), 60, 300, 1800, 7200),
		}),
	}
}

func (m *relayMetrics) count(pubs []publish.Publication, outcomes []publish.Outcome, err error) {
	if err != nil {
		m.errors.WithLabelValues("redis").Inc()
	}
	published := map[string]int{}
	for i, o := range outcomes {
		if o.Status == bus.Published {
			metrics.CountTypes(published, &pubs[i].Update)
		}
	}
	metrics.AddTypes(m.published, published)
}
