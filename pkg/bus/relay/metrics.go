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
	forks       prometheus.Counter
	comparisons prometheus.Counter
	comparing   prometheus.Gauge
	sweeps      prometheus.Counter
	backlog     prometheus.Gauge
	oldest      prometheus.Gauge
	delay       prometheus.Histogram
	lastSuccess *prometheus.GaugeVec // by loop

	partitionsWritable prometheus.Gauge
	partitionsFailing  prometheus.Gauge
}

// The values of the label loop.
const (
	loopSweep       = "sweep"
	loopAcknowledge = "acknowledge"
	loopBacklog     = "backlog"
	loopWatermarks  = "watermarks"
)

// The values of the label reason.
const (
	reasonRedis           = "redis"
	reasonOutbox          = "outbox"
	reasonUnwritable      = "unwritable"
	reasonPartlyPublished = "partly_published"
)

// startLoops lets the time of the last success of each loop begin now.
func (m *relayMetrics) startLoops() {
	for _, loop := range []string{loopSweep, loopAcknowledge, loopBacklog, loopWatermarks} {
		m.noteSuccess(loop)
	}
}

// noteSuccess records that a loop has just succeeded, or had nothing to do.
func (m *relayMetrics) noteSuccess(loop string) {
	m.lastSuccess.WithLabelValues(loop).SetToCurrentTime()
}

func newRelayMetrics(reg prometheus.Registerer) relayMetrics {
	f := promauto.With(reg)
	newCounter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}

	newGauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}

	partitions := f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "realtime_relay_partitions",
		Help: "Partitions by state: writable, or failing: the last write failed, and the events wait in the outbox.",
	}, []string{"state"})

	m := relayMetrics{
		partitionsWritable: partitions.WithLabelValues("writable"),
		partitionsFailing:  partitions.WithLabelValues("failing"),
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_relay_events_published_total",
			Help: "Ledger events that this process wrote to the streams. An event with two parties counts once.",
		}, []string{"type"}),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_relay_publish_errors_total",
			Help: "Errors while publishing ledger events, by reason: redis (a call failed), outbox (the ledger did not answer), " +
				"partly_published and unwritable (Redis holds data that no publisher wrote; see the log). The relay retries all of them.",
		}, []string{"reason"}),
		deferred: newCounter("realtime_relay_deferred_total",
			"Transactions left to the sweep because the queue was full, or because Redis or the partition was unavailable."),
		gaps: newCounter("realtime_relay_gaps_total",
			"Account updates that Redis refused at first because it lacked an earlier update of the account."),
		republished: newCounter("realtime_relay_republished_total",
			"Account updates derived from the ledger and published, because Redis had lost them or because a comparison ran before their first publish."),
		forks: newCounter("realtime_relay_forked_accounts_total",
			"Accounts of which Redis had events that the ledger does not have, and that were set back to the newest common event: "+
				"the ledger was restored from a backup, or a failover of its database lost commits."),
		comparisons: newCounter("realtime_relay_history_comparisons_total", "Completed comparisons of all balance hashes with the ledger."),
		comparing:   newGauge("realtime_relay_history_comparison_running", "1 while a comparison of all balance hashes with the ledger is required or running."),
		sweeps:      newCounter("realtime_relay_sweeps_total", "Passes through the outbox."),
		backlog:     newGauge("realtime_relay_outbox_backlog", "Committed transactions in the outbox."),
		oldest:      newGauge("realtime_relay_outbox_oldest_age_seconds", "Age of the oldest row in the outbox; 0 when it is empty."),
		lastSuccess: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "realtime_relay_loop_last_success_timestamp_seconds",
			Help: "When each background loop of the relay last succeeded, or had nothing to do, in seconds since 1970.",
		}, []string{"loop"}),
		delay: f.NewHistogram(prometheus.HistogramOpts{
			Name: "realtime_relay_publish_delay_seconds",
			Help: "Time from the commit of a transaction until its events are in the streams.",
			// The usual delay is milliseconds. After a Redis outage it is minutes to hours.
			Buckets: append(prometheus.ExponentialBuckets(0.0005, 2, 16), 60, 300, 1800, 7200),
		}),
	}

	// The rate of a counter does not include its first value. So each counter begins with 0.
	for _, reason := range []string{reasonRedis, reasonOutbox, reasonUnwritable, reasonPartlyPublished} {
		m.errors.WithLabelValues(reason)
	}

	return m
}

// countOutcomes counts the published events by type, and the error.
func (m *relayMetrics) countOutcomes(pubs []publish.Publication, outcomes []publish.Outcome, err error) {
	if err != nil {
		m.errors.WithLabelValues(reasonRedis).Inc()
	}

	published := map[string]int{}
	for i, o := range outcomes {
		if o.Status == bus.Published {
			metrics.CountTypes(published, &pubs[i].Update)
		}
	}

	metrics.AddTypes(m.published, published)
}
