package ws

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// metrics of the gateway. None has an account, an event or a connection as label.
type metrics struct {
	traced bool // events may have spans

	connections   prometheus.Gauge
	subscriptions prometheus.Gauge
	deliveries    prometheus.Counter
	drops         *prometheus.CounterVec
	duplicates    prometheus.Counter // of drops
	gaps          prometheus.Counter
	repaired      prometheus.Counter
	resyncs       prometheus.Counter
	closes        *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	limits        *prometheus.CounterVec
	authFailures  prometheus.Counter
	latency       prometheus.Histogram
	handedOver    prometheus.Counter
}

// The limits that clients meet.
const (
	limitAcceptRate         = "accept_rate"
	limitConnections        = "connections"
	limitAccountConnections = "account_connections"
	limitAuthTimeout        = "auth_timeout"
	limitSubscriptions      = "subscriptions"
	limitAccounts           = "accounts"
	limitFilterValues       = "filter_values"
	limitFrameRate          = "frame_rate"
	limitMessageBytes       = "message_bytes"
	limitMessageTime        = "message_time"
	limitBadFrames          = "bad_frames"
	limitQueue              = "queue"
	limitWriteTimeout       = "write_timeout"
	limitReplay             = "replay"
)

// The reasons for which frames are dropped.
const (
	dropDuplicate = "duplicate"
	dropSlow      = "slow_consumer"
)

func newMetrics(r prometheus.Registerer, traced bool) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		traced:        traced,
		connections:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_connections", Help: "Open connections."}),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_subscriptions", Help: "Open subscriptions."}),
		deliveries:    counter("gateway_deliveries_total", "Live events queued to subscriptions."),
		drops:         vec("gateway_drops_total", "Dropped: stream entries that were delivered before (duplicate), frames that waited for a client cut off (slow_consumer).", "reason"),
		gaps:          counter("gateway_gaps_total", "Holes met in an account's events, once for each subscription."),
		repaired:      counter("gateway_gaps_healed_total", "Holes closed from the history or by a resync."),
		resyncs:       counter("gateway_resyncs_total", "Resync frames: history could not be had."),
		closes:        vec("gateway_closes_total", "Connections ended, by close code; 1006 without one, other for codes that are not the protocol's.", "code"),
		refusals:      vec("gateway_refusals_total", "Handshakes refused, by HTTP status.", "status"),
		limits:        vec("gateway_limits_total", "Clients that met a limit, by limit.", "limit"),
		authFailures:  counter("gateway_auth_failures_total", "Tokens refused."),
		handedOver:    counter("gateway_writes_handed_over_total", "Writes that would have waited for a client and went to a writer of its own."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "gateway_stream_to_socket_seconds",
			Help:    "From the stream entry, made right after the commit, to the write to the client's socket; one observation for each write, of its oldest live event.",
			Buckets: []float64{.0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	m.duplicates = m.drops.WithLabelValues(dropDuplicate)
	if r != nil {
		r.MustRegister(m.connections, m.subscriptions, m.deliveries, m.drops, m.gaps, m.repaired, m.resyncs,
			m.closes, m.refusals, m.limits, m.authFailures, m.handedOver, m.latency)
	}
	return m
}

// observeWrite notes the latency of the oldest live event in a write, and tells the spans. An event
// from before the client's newest subscription was sent from memory, so its age is no latency.
func (m *metrics) observeWrite(items []netconn.Item, newestSub int64) {
	if m.traced {
		noteSpans(items)
	}
	for i := range items {
		e, ok := items[i].Event.(*event)
		if ok && e.Millis >= newestSub {
			// The clocks of Redis and of this machine may differ by a little.
			seconds := float64(time.Now().UnixMilli()-e.Millis) / 1000
			m.latency.Observe(max(0, seconds))
			return
		}
	}
}

func (m *metrics) countClose(code protocol.CloseCode) { m.closes.WithLabelValues(code.Label()).Inc() }

// countLimit notes that a client met a limit.
func (m *metrics) countLimit(name string) { m.limits.WithLabelValues(name).Inc() }

// countRefusal notes that a request got no connection.
func (m *metrics) countRefusal(status int) { m.refusals.WithLabelValues(strconv.Itoa(status)).Inc() }
