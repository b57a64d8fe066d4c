// Package metrics has the metrics of the gateway.
package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// Metrics are the metrics of the gateway. No label is an account, an event or a connection.
type Metrics struct {
	Connections    prometheus.Gauge
	Subscriptions  prometheus.Gauge
	Deliveries     prometheus.Counter
	Duplicates     prometheus.Counter // dropped stream entries that were delivered before
	Gaps           prometheus.Counter
	Repaired       prometheus.Counter
	Resyncs        prometheus.Counter
	HistoryChanges prometheus.Counter
	AuthFailures   prometheus.Counter
	HandedOver     prometheus.Counter

	traced   bool // events may have spans
	drops    *prometheus.CounterVec
	closes   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	limits   *prometheus.CounterVec
	latency  prometheus.Histogram
}

// The limits in realtime_gateway_limits_total.
const (
	LimitAcceptRate         = "accept_rate"
	LimitConnections        = "connections"
	LimitAccountConnections = "account_connections"
	LimitAddressConnections = "address_connections"
	LimitAuthTimeout        = "auth_timeout"
	LimitSubscriptions      = "subscriptions"
	LimitAccounts           = "accounts"
	LimitFilterValues       = "filter_values"
	LimitFrameRate          = "frame_rate"
	LimitMessageBytes       = "message_bytes"
	LimitMessageTime        = "message_time"
	LimitBadFrames          = "bad_frames"
	LimitQueue              = "queue"
	LimitWriteTimeout       = "write_timeout"
	LimitReplay             = "replay"
)

// The reasons in realtime_gateway_drops_total.
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
	helpGaps           = "Gaps in the events of an account, counted for each subscription."
	helpRepaired       = "Gaps filled from the history or by a resync."
	helpResyncs        = "Resync frames sent because the history was not available."
	helpHistoryChanges = "Resync frames sent because the ledger went back: the client was shown " +
		"events that never happened."
	helpCloses = "Closed connections by close code. 1006 is a connection without a close frame; " +
		"other is a code that the protocol does not define."
	helpRefusals     = "Refused requests by HTTP status."
	helpLimits       = "Exceeded limits by name of the limit."
	helpAuthFailures = "Refused tokens."
	helpHandedOver   = "Writes that a socket did not accept at once, so that a goroutine of the " +
		"connection wrote the rest."
	helpLatency = "Time from the stream entry, which follows the commit, to the write to the " +
		"client's socket. Each write is observed once, with its oldest live event."
)

// New returns the metrics and registers them. r may be nil. traced is true when events may have
// spans.
func New(r prometheus.Registerer, traced bool) *Metrics {
	m := &Metrics{
		traced:         traced,
		Connections:    newGauge("realtime_gateway_connections", helpConnections),
		Subscriptions:  newGauge("realtime_gateway_subscriptions", helpSubscriptions),
		Deliveries:     newCounter("realtime_gateway_deliveries_total", helpDeliveries),
		drops:          newCounterVec("realtime_gateway_drops_total", helpDrops, "reason"),
		Gaps:           newCounter("realtime_gateway_gaps_total", helpGaps),
		Repaired:       newCounter("realtime_gateway_gaps_healed_total", helpRepaired),
		Resyncs:        newCounter("realtime_gateway_resyncs_total", helpResyncs),
		HistoryChanges: newCounter("realtime_gateway_history_changes_total", helpHistoryChanges),
		closes:         newCounterVec("realtime_gateway_closes_total", helpCloses, "code"),
		refusals:       newCounterVec("realtime_gateway_refusals_total", helpRefusals, "status"),
		limits:         newCounterVec("realtime_gateway_limits_total", helpLimits, "limit"),
		AuthFailures:   newCounter("realtime_gateway_auth_failures_total", helpAuthFailures),
		HandedOver:     newCounter("realtime_gateway_writes_handed_over_total", helpHandedOver),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "realtime_gateway_stream_to_socket_seconds",
			Help: helpLatency,
			Buckets: []float64{
				.0005, .001, .002, .003, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5, 10,
			},
		}),
	}

	m.Duplicates = m.drops.WithLabelValues(dropDuplicate)
	if r != nil {
		r.MustRegister(
			m.Connections,
			m.Subscriptions,
			m.Deliveries,
			m.drops,
			m.Gaps,
			m.Repaired,
			m.Resyncs,
			m.HistoryChanges,
			m.closes,
			m.refusals,
			m.limits,
			m.AuthFailures,
			m.HandedOver,
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

// ObserveWrite observes the latency of the oldest live event in a write and records the write in
// the spans of its events. Events from before newestSub, the time of the client's newest
// subscription in ms since 1970, were sent from memory and are not live.
func (m *Metrics) ObserveWrite(items []netconn.Item, newestSub int64) {
	if m.traced {
		recordSpanWrites(items)
	}

	for i := range items {
		e, ok := items[i].Event.(*recent.Event)
		if ok && e.Millis >= newestSub {
			seconds := float64(time.Now().UnixMilli()-e.Millis) / 1000
			// The clocks of Redis and of this machine may differ, so seconds can be negative.
			m.latency.Observe(max(0, seconds))
			return
		}
	}
}

// recordSpanWrites records a write in the spans of its events.
func recordSpanWrites(items []netconn.Item) {
	now := time.Now()
	for i := range items {
		e, ok := items[i].Event.(*recent.Event)
		if ok && e.Span != nil {
			e.Span.CountWritten(now)
		}
	}
}

// CountSlowDrops counts dropped frames of a client that was too slow.
func (m *Metrics) CountSlowDrops(n int) {
	m.drops.WithLabelValues(dropSlow).Add(float64(n))
}

// CountClose counts a closed connection.
func (m *Metrics) CountClose(code protocol.CloseCode) {
	m.closes.WithLabelValues(code.Label()).Inc()
}

// CountLimit counts a client that exceeded a limit.
func (m *Metrics) CountLimit(name string) {
	m.limits.WithLabelValues(name).Inc()
}

// CountRefusal counts a refused request.
func (m *Metrics) CountRefusal(status int) {
	m.refusals.WithLabelValues(strconv.Itoa(status)).Inc()
}
