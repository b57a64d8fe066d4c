package tail

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	reads, entries, malformed, errors, trimmed prometheus.Counter
	resets                                     *prometheus.CounterVec
	lag                                        []prometheus.Gauge // by partition
}

func newMetrics(reg prometheus.Registerer, partitions int) metrics {
	f := promauto.With(reg)
	m := metrics{
		reads: f.NewCounter(prometheus.CounterOpts{
			Name: "stream_reads_total", Help: "Reads of the streams that Redis answered, also those that found nothing.",
		}),
		entries: f.NewCounter(prometheus.CounterOpts{
			Name: "stream_entries_total", Help: "Entries read from the streams.",
		}),
		malformed: f.NewCounter(prometheus.CounterOpts{
			Name: "stream_malformed_total", Help: "Entries that were no deliveries and were skipped.",
		}),
		errors: f.NewCounter(prometheus.CounterOpts{
			Name: "stream_read_errors_total", Help: "Reads of the streams that failed and were tried again.",
		}),
		trimmed: f.NewCounter(prometheus.CounterOpts{
			Name: "stream_trimmed_total", Help: "Streams of which entries may have been trimmed before they were read.",
		}),
		resets: f.NewCounterVec(prometheus.CounterOpts{
			Name: "stream_resets_total", Help: "Streams that were read again from further back, by reason.",
		}, []string{"reason"}),
	}
	lag := f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "stream_lag_seconds",
		Help: "Age of the newest entry of the last read, by Redis' clock against ours; 0 when there was none.",
	}, []string{"partition"})
	for i := range partitions {
		m.lag = append(m.lag, lag.WithLabelValues(strconv.Itoa(i)))
	}
	return m
}
