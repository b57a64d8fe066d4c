package bus

import "github.com/prometheus/client_golang/prometheus"

type publisherMetrics struct {
	published *prometheus.CounterVec
	duplicate *prometheus.CounterVec
	seconds   prometheus.Histogram
}

func newPublisherMetrics(reg prometheus.Registerer) publisherMetrics {
	return publisherMetrics{
		published: newPublishedTotal(reg),
		duplicate: newDuplicateTotal(reg),
		seconds: shared(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
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
