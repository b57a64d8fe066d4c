package coreapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics has the metrics of requests. The labels are operations and statuses, so the number of
// series is small.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	readsRunning *prometheus.GaugeVec
	readsWaiting *prometheus.GaugeVec
	readsRefused *prometheus.CounterVec

	transferBytes  prometheus.Gauge
	transfersEnded *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_http_requests_total",
			Help: "Answered requests, by operation and status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "realtime_http_request_duration_seconds",
			Help: "Seconds from the request header to the answer, by operation.",
			// A read takes about 1 ms, and a write takes one commit. A request times out after 10 s.
			Buckets: []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		readsRunning: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "realtime_http_reads_running",
			Help: "Reads that run in the ledger's database, by the group of their readers.",
		}, []string{"readers"}),
		readsWaiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "realtime_http_reads_waiting",
			Help: "Reads that wait for other reads, by the group of their readers.",
		}, []string{"readers"}),
		readsRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_http_reads_refused_total",
			Help: "Reads that were refused, by the group of their readers and the reason.",
		}, []string{"readers", "reason"}),
		transferBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realtime_http_transfer_bytes",
			Help: "Bytes of large requests and answers that are in memory, on their way from or to clients.",
		}),
		transfersEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_http_transfers_ended_total",
			Help: "Large requests and answers that did not fit into memory, by what happened to them.",
		}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.readsRunning, m.readsWaiting, m.readsRefused,
			m.transferBytes, m.transfersEnded)
	}
	return m
}

// readMetrics has the metrics of the reads of one group of readers.
type readMetrics struct {
	running        prometheus.Gauge
	waiting        prometheus.Gauge
	refusedFull    prometheus.Counter
	refusedTimeout prometheus.Counter
}

func (m *metrics) ofReaders(group string) readMetrics {
	return readMetrics{
		running:        m.readsRunning.WithLabelValues(group),
		waiting:        m.readsWaiting.WithLabelValues(group),
		refusedFull:    m.readsRefused.WithLabelValues(group, "full"),
		refusedTimeout: m.readsRefused.WithLabelValues(group, "timeout"),
	}
}

// operationMetrics has the metrics of one operation.
type operationMetrics struct {
	requests *prometheus.CounterVec // label: status
	seconds  prometheus.Observer
}

func (m *metrics) ofOperation(name string) operationMetrics {
	return operationMetrics{
		requests: m.requests.MustCurryWith(prometheus.Labels{"operation": name}),
		seconds:  m.seconds.WithLabelValues(name),
	}
}

func (m operationMetrics) observeRequest(status int, start time.Time) {
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	m.seconds.Observe(time.Since(start).Seconds())
}
