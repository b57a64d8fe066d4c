package bus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
)

type publisherMetrics struct {
	published *prometheus.CounterVec
	duplicate *prometheus.CounterVec
	seconds   prometheus.Histogram
}

func newPublisherMetrics(reg prometheus.Registerer) publisherMetrics {
	return publisherMetrics{
		published: metrics.NewPublished(reg),
		duplicate: metrics.NewDuplicates(reg),
		seconds: metrics.Shared(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "event_publish_seconds",
			Help:    "Time that Redis took for one pipeline of script calls.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 15), // a publish is given up after 3 s
		})),
	}
}

// count adds up by type first: a batch has hundreds of events and a handful of types.
func (m *publisherMetrics) count(pubs []Publication, outcomes []Outcome) {
	published, duplicate := map[string]int{}, map[string]int{}
	for i, o := range outcomes {
		switch o.Status {
		case Published:
			countTypes(published, &pubs[i].Group)
		case Duplicate:
			countTypes(duplicate, &pubs[i].Group)
		case Unknown, Gap, Straddled, Unwritable:
		}
	}
	metrics.AddByType(m.published, published)
	metrics.AddByType(m.duplicate, duplicate)
}

func countTypes(counts map[string]int, g *Group) {
	for i := range g.Deliveries {
		if d := &g.Deliveries[i]; !d.Copy {
			counts[d.Type]++
		}
	}
}
