package bus

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type publisherMetrics struct {
	published *prometheus.CounterVec
	duplicate *prometheus.CounterVec
	seconds   prometheus.Histogram
}

func newPublisherMetrics(reg prometheus.Registerer) publisherMetrics {
	f := promauto.With(reg)
	return publisherMetrics{
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "event_published_total",
			Help: "Events written to the streams; an event with two parties counts once.",
		}, []string{"type"}),
		duplicate: f.NewCounterVec(prometheus.CounterOpts{
			Name: "event_duplicate_detected_total",
			Help: "Events that were to be published again and were not.",
		}, []string{"type"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "event_publish_seconds",
			Help:    "Time that Redis took for one pipeline of script calls.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
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
	addTypes(m.published, published)
	addTypes(m.duplicate, duplicate)
}

func countTypes(counts map[string]int, g *Group) {
	for i := range g.Deliveries {
		if d := &g.Deliveries[i]; !d.Copy {
			counts[d.Type]++
		}
	}
}

func addTypes(vec *prometheus.CounterVec, counts map[string]int) {
	for kind, n := range counts {
		vec.WithLabelValues(kind).Add(float64(n))
	}
}
