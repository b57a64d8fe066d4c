package publish

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
)

type publisherMetrics struct {
	published *prometheus.CounterVec
	duplicate *prometheus.CounterVec
	seconds   prometheus.Histogram
}

func newPublisherMetrics(reg prometheus.Registerer) publisherMetrics {
	return publisherMetrics{
		published: metrics.PublishedTotal(reg),
		duplicate: metrics.DuplicateTotal(reg),
		seconds: metrics.Shared(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "realtime_relay_publish_seconds",
			Help:    "Duration of one pipeline of script calls.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 15), // up to the relay's timeout of 3 s
		})),
	}
}

// countOutcomes counts events by type. It adds up first, since a batch has hundreds of events of
// only a few types.
func (m *publisherMetrics) countOutcomes(pubs []Publication, outcomes []Outcome) {
	published := map[string]int{}
	duplicate := map[string]int{}
	for i, o := range outcomes {
		switch o.Status {
		case bus.Published:
			metrics.CountTypes(published, &pubs[i].Update)
		case bus.Duplicate:
			metrics.CountTypes(duplicate, &pubs[i].Update)
		case bus.Unknown, bus.Gap, bus.PartlyPublished, bus.Unwritable, bus.Forked:
		}
	}

	metrics.AddTypes(m.published, published)
	metrics.AddTypes(m.duplicate, duplicate)
}
