package wallet

import (
	"database/sql"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label pool.
const (
	poolWrites = "writes" // commits, the relay and housekeeping
	poolReads  = "reads"
)

// poolMetrics exports the state of the ledger's two pools of database connections.
type poolMetrics struct {
	pools       map[string]*sql.DB
	connections *prometheus.Desc
	limit       *prometheus.Desc
	waits       *prometheus.Desc
	waitSeconds *prometheus.Desc
}

func newPoolMetrics(s store) *poolMetrics {
	return &poolMetrics{
		pools: map[string]*sql.DB{
			poolWrites: s.sharedQueries().db.DB,
			poolReads:  s.readQueries().db.DB,
		},
		connections: prometheus.NewDesc("realtime_ledger_connections",
			"Open database connections.", []string{"pool", "state"}, nil),
		limit: prometheus.NewDesc("realtime_ledger_connections_limit",
			"Largest number of database connections.", []string{"pool"}, nil),
		waits: prometheus.NewDesc("realtime_ledger_connection_waits_total",
			"Queries that waited for a free database connection.", []string{"pool"}, nil),
		waitSeconds: prometheus.NewDesc("realtime_ledger_connection_wait_seconds_total",
			"Seconds that queries waited for a free database connection.", []string{"pool"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *poolMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- m.connections
	descs <- m.limit
	descs <- m.waits
	descs <- m.waitSeconds
}

// Collect implements prometheus.Collector.
func (m *poolMetrics) Collect(collected chan<- prometheus.Metric) {
	for pool, db := range m.pools {
		stats := db.Stats()
		gauge := func(desc *prometheus.Desc, value int, labels ...string) {
			collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
		}
		counter := func(desc *prometheus.Desc, value float64) {
			collected <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, pool)
		}

		gauge(m.connections, stats.InUse, pool, "busy")
		gauge(m.connections, stats.Idle, pool, "idle")
		gauge(m.limit, stats.MaxOpenConnections, pool)
		counter(m.waits, float64(stats.WaitCount))
		counter(m.waitSeconds, stats.WaitDuration.Seconds())
	}
}
