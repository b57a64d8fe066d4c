package ws

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// metrics are the metrics of the gateway. No label is an account, an event or a connection.
type metrics struct {
	traced bool // events may have spans

	connections   prometheus.Gauge
	subscriptions prometheus.Gauge
	deliveries    prometheus.Counter
	drops         *prometheus.CounterVec
	duplicates    prometheus.Counter // drops with the reason dropDuplicate
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

// The limits in gateway_limits_total.
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

// The reasons in gateway_drops_total.
const (
	dropDuplicate = "duplicate"
	dropSlow      = "slow_consumer"
)

// The help texts of the metrics.
const (
	helpConnections   = "Number of open connections."
	helpSubscriptions = "Number of open subscriptions."
	helpDeliveries    = "Live events queued for subscriptions."
	helpDrops         = "Dropped stream entries that were delivered before (duplicate), and dropped " +
		"frames of clients that were too slow (slow_consumer)."
	helpGaps     = "Gaps in the events of an account, counted for each subscription."
	helpRepaired = "Gaps filled from the history or by a resync."
	helpResyncs  = "Resync frames sent because the history was not available."
	helpCloses   = "Closed connections by close code. 1006 is a connection without a close frame; " +
		"other is a code that the protocol does not define."
	helpRefusals     = "Refused requests by HTTP status."
	helpLimits       = "Exceeded limits by name of the limit."
	helpAuthFailures = "Refused tokens."
	helpHandedOver   = "Writes that a socket did not accept at once, so that a goroutine of the " +
		"connection wrote the rest."
	helpLatency = "Time from the stream entry, which follows the commit, to the write to the " +
		"client's socket. Each write is observed once, with its oldest live event."
)

func newMetrics(r prometheus.Registerer, traced bool) *metrics {
	m := &metrics{
		traced:        traced,
		connections:   newGauge("gateway_connections", helpConnections),
		subscriptions: newGauge("gateway_subscriptions", helpSubscriptions),
		deliveries:    newCounter("gateway_deliveries_total", helpDeliveries),
		drops:         newCounterVec("gateway_drops_total", helpDrops, "reason"),
		gaps:          newCounter("gateway_gaps_total", helpGaps),
		repaired:      newCounter("gateway_gaps_healed_total", helpRepaired),
		resyncs:       newCounter("gateway_resyncs_total", helpResyncs),
		closes:        newCounterVec("gateway_closes_total", helpCloses, "code"),
		refusals:      newCounterVec("gateway_refusals_total", helpRefusals, "status"),
		limits:        newCounterVec("gateway_limits_total", helpLimits, "limit"),
		authFailures:  newCounter("gateway_auth_failures_total", helpAuthFailures),
		handedOver:    newCounter("gateway_writes_handed_over_total", helpHandedOver),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gateway_stream_to_socket_seconds",
			Help: helpLatency,
			Buckets: []float64{
				.0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5, 10,
			},
		}),
	}

	m.duplicates = m.drops.WithLabelValues(dropDuplicate)
	if r != nil {
		r.MustRegister(
			m.connections,
			m.subscriptions,
			m.deliveries,
			m.drops,
			m.gaps,
			m.repaired,
			m.resyncs,
			m.closes,
			m.refusals,
			m.limits,
			m.authFailures,
			m.handedOver,
			m.latency,
		)
	}

	return m
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newCounterVec(name, help, label string) *prometheus.CounterVec {
	opts := prometheus.CounterOpts{Name: name, Help: help}
	return prometheus.NewCounterVec(opts, []string{label})
}

// observeWrite observes the latency of the oldest live event in a write and records the write in
// the spans of its events. Events from before newestSub, the time of the client's newest
// subscription in ms since 1970, were sent from memory and are not live.
func (m *metrics) observeWrite(items []netconn.Item, newestSub int64) {
	if m.traced {
		recordSpanWrites(items)
	}

	for i := range items {
		e, ok := items[i].Event.(*event)
		if ok && e.Millis >= newestSub {
			seconds := float64(time.Now().UnixMilli()-e.Millis) / 1000
			// The clocks of Redis and of this machine may differ, so seconds can be negative.
			m.latency.Observe(max(0, seconds))
			return
		}
	}
}

// countClose counts a closed connection.
func (m *metrics) countClose(code protocol.CloseCode) {
	m.closes.WithLabelValues(code.Label()).Inc()
}

// countLimit counts a client that exceeded a limit.
func (m *metrics) countLimit(name string) {
	m.limits.WithLabelValues(name).Inc()
}

// countRefusal counts a refused request.
func (m *metrics) countRefusal(status int) {
	m.refusals.WithLabelValues(strconv.Itoa(status)).Inc()
}
