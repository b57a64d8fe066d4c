package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits   prometheus.Counter
	misses prometheus.Counter
	stale  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	factory := promauto.With(reg)
	return metrics{
		hits: factory.NewCounter(prometheus.CounterOpts{
			Name: "realtime_balance_cache_hits_total",
			Help: "Balances that were returned from memory.",
		}),
		misses: factory.NewCounter(prometheus.CounterOpts{
			Name: "realtime_balance_cache_misses_total",
			Help: "Balances that were read from Redis.",
		}),
		stale: factory.NewCounter(prometheus.CounterOpts{
			Name: "realtime_balance_cache_stale_total",
			Help: "Balances that were read again because of a newer event.",
		}),
	}
}
