package consumer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
)

// groupMetrics are the metrics of a consumer group.
type groupMetrics struct {
	lagEntries  prometheus.Gauge
	lagSeconds  prometheus.Gauge
	deadLetters prometheus.Gauge
	claimed     prometheus.Counter
	trimmed     prometheus.Counter
	errors      prometheus.Counter
}

func newGroupMetrics(reg prometheus.Registerer, group string) groupMetrics {
	newGauge := func(name, help string) prometheus.Gauge {
		return metrics.Gauge(reg, name, help, "group").WithLabelValues(group)
	}

	newCounter := func(name, help string) prometheus.Counter {
		return metrics.Counter(reg, name, help, "group").WithLabelValues(group)
	}

	return groupMetrics{
		lagEntries:  newGauge("realtime_bus_lag_entries", "Stream entries that the group has not handled yet."),
		lagSeconds:  newGauge("realtime_bus_lag_seconds", "Age of the oldest entry that the group has not handled yet; 0 if there is none."),
		deadLetters: newGauge("realtime_bus_dead_letters", "Dead letters of the group that were not replayed yet."),
		claimed:     newCounter("realtime_bus_entries_claimed_total", "Entries claimed from consumers that stopped, or read again after a lost connection."),
		trimmed:     newCounter("realtime_bus_entries_trimmed_total", "Entries that the stream trimmed before the group had handled them."),
		errors:      newCounter("realtime_bus_redis_errors_total", "Redis calls that failed. They are retried."),
	}
}
