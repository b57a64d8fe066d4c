package consumer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
)

// groupMetrics are those of a consumer group in Redis.
type groupMetrics struct {
	lagEntries, lagSeconds, deadLetters prometheus.Gauge
	claimed, trimmed, errors            prometheus.Counter
}

func newGroupMetrics(reg prometheus.Registerer, group string) groupMetrics {
	return groupMetrics{
		lagEntries: metrics.Gauge(reg, "event_lag_entries", "Stream entries that the group has not handled yet.", "group").WithLabelValues(group),
		lagSeconds: metrics.Gauge(reg, "event_lag_seconds", "Age of the oldest entry that the group has not handled yet; 0: none.", "group").WithLabelValues(group),
		deadLetters: metrics.Gauge(reg, "event_dead_letters", "Dead letters of the group that wait for somebody.",
			"group").WithLabelValues(group),
		claimed: metrics.Counter(reg, "event_claimed_total", "Entries taken over from consumers that show no sign of life, or read again.",
			"group").WithLabelValues(group),
		trimmed: metrics.Counter(reg, "event_trimmed_total", "Entries that the stream had lost to trimming before they were handled to the end.",
			"group").WithLabelValues(group),
		errors: metrics.Counter(reg, "event_redis_errors_total", "Calls of Redis that failed and are made again.", "group").WithLabelValues(group),
	}
}
