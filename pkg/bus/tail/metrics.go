package tail

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	reads     prometheus.Counter
	entries   prometheus.Counter
	malformed prometheus.Counter
	errors    prometheus.Counter
	trimmed   prometheus.Counter
	resets    *prometheus.CounterVec
	lag       []prometheus.Gauge // by partition
}

func newMetrics(reg prometheus.Registerer, partitions int) metrics {
	f := promauto.With(reg)
	newCounter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}

	m := metrics{
		reads:     newCounter("realtime_stream_reads_total", "Successful reads of the streams, including those without entries."),
		entries:   newCounter("realtime_stream_entries_total", "Entries read from the streams."),
		malformed: newCounter("realtime_stream_malformed_total", "Entries that were not valid deliveries and were skipped."),
		errors:    newCounter("realtime_stream_read_errors_total", "Reads of the streams that failed. They are retried."),
		trimmed:   newCounter("realtime_stream_trimmed_total", "Streams of which entries may have been trimmed before they were read."),
		resets: f.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_stream_resets_total",
			Help: "Streams that were read again from an earlier position, by reason.",
		}, []string{"reason"}),
	}

	lag := f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "realtime_stream_lag_seconds",
		Help: "Age of the newest entry of the last read, by the clocks of Redis and of this process; 0 if the read had no entries.",
	}, []string{"partition"})
	for i := range partitions {
		m.lag = append(m.lag, lag.WithLabelValues(strconv.Itoa(i)))
	}

	return m
}
