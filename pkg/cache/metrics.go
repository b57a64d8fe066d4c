package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct{ hits, misses, stale prometheus.Counter }

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		hits: f.NewCounter(prometheus.CounterOpts{
			Name: "balance_cache_hits_total", Help: "Balances answered from memory.",
		}),
		misses: f.NewCounter(prometheus.CounterOpts{
			Name: "balance_cache_misses_total", Help: "Balances for which Redis was asked.",
		}),
		stale: f.NewCounter(prometheus.CounterOpts{
			Name: "balance_cache_stale_total", Help: "Balances that were read anew because a newer event had arrived.",
		}),
	}
}
